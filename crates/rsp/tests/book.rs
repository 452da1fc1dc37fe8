//! The book keeps its word: every `sh` block of every chapter runs, one after the other in a folder of the chapter's own,
//! and prints what the `text` block behind it says.
//!
//! Transcripts that need other machines are `console` blocks: they are only read. Rust blocks are tested by `rustdoc`
//! (`rserpool_net::pool`).

mod common;

use common::{Said, finish};
use std::path::{Path, PathBuf};
use std::process::Command;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// A fenced block: its language and its text.
struct Block<'a> {
    language: &'a str,
    text: String,
}

fn blocks(chapter: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for line in chapter.lines() {
        match line.strip_prefix("```") {
            Some(language) if !open => {
                open = true;
                blocks.push(Block { language, text: String::new() });
            }
            Some(_) => open = false,
            None if open => {
                let block = blocks.last_mut().expect("an open block is the last one");
                block.text += line;
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "a block without end");
    blocks
}

/// Runs a chapter and returns what its blocks said.
fn run(name: &str) -> Vec<Said> {
    let text = std::fs::read_to_string(docs().join(name)).expect("SUMMARY.md names files that are there");
    let folder = tempfile::tempdir().expect("a folder");
    let program = Path::new(env!("CARGO_BIN_EXE_rsp")).parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let blocks = blocks(&text);
    let mut ran = Vec::new();
    for (place, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
        let mut command = Command::new("sh");
        command
            .args(["-euc", &block.text])
            .current_dir(folder.path())
            .env("PATH", format!("{}:{path}", program.display()))
            .env("RSP_STATE_DIR", folder.path().join("state"))
            .env_remove("RSP_REGISTRAR");
        let said = finish(command, b"");
        assert_eq!(said.code(), 0, "{name}:\n{}{}{}", block.text, said.text(), said.stderr);
        if let Some(expected) = blocks.get(place + 1).filter(|next| next.language == "text") {
            assert_eq!(said.text(), expected.text, "{name}:\n{}{}", block.text, said.stderr);
        }
        ran.push(said);
    }
    ran
}

#[test]
fn every_chapter_does_what_it_says() {
    let summary =
        std::fs::read_to_string(docs().join("SUMMARY.md")).expect("the book has a table of contents");
    let chapters: Vec<&str> =
        summary.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(')')).collect();
    let chapters = chapters.into_iter().filter(|chapter| *chapter != "files.md");
    let ran: usize = chapters.map(|chapter| run(chapter).len()).sum();
    assert!(ran >= 8, "only {ran} blocks run: is this still the book?");
}

#[test]
fn files_come_back_and_checkpoints_end_where_they_should() {
    // Tasks end in any order, so the page does not show what these print.
    let said: Vec<_> = run("files.md").iter().map(Said::sorted).collect();
    assert_eq!(said, [["a.pov.png", "b.pov.png"], ["a: 5 steps", "b: 5 steps"]]);
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let summary =
        std::fs::read_to_string(docs().join("SUMMARY.md")).expect("the book has a table of contents");
    for page in std::fs::read_dir(docs()).expect("a folder") {
        let name = page.expect("a file").file_name().into_string().expect("a plain name");
        let is_page = name.ends_with(".md") && name != "SUMMARY.md";
        assert!(!is_page || summary.contains(&format!("({name})")), "{name} is not in SUMMARY.md");
    }
}

#[test]
fn every_page_that_help_names_is_there() {
    let options = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    let mut named = 0;
    for file in std::fs::read_dir(options).expect("a folder") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        for rest in text.split("docs/").skip(1) {
            let page = rest.split(".md").next().unwrap_or_default();
            assert!(docs().join(format!("{page}.md")).exists(), "docs/{page}.md is not there");
            named += 1;
        }
    }
    assert!(named > 5, "only {named} pages are named");
}
