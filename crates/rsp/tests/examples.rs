//! The examples run, and give what they say.

mod common;

use common::{Said, finish};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs an example in this folder, with the program under test on the path and no pool but its own.
fn example(folder: &Path, name: &str, arguments: &[&str]) -> Said {
    let program = Path::new(env!("CARGO_BIN_EXE_rsp")).parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(root().join("examples").join(name));
    command
        .args(arguments)
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", program.display()))
        .env("RSP_STATE_DIR", folder.join("state"))
        .env_remove("RSP_REGISTRAR");
    finish(command, b"")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_sweep_over_a_program_comes_in_the_order_of_its_parameters() {
    let folder = folder();
    std::fs::write(folder.path().join("text"), "to be or not to be, ".repeat(5_000)).expect("space");
    let said = example(folder.path(), "sweep.sh", &["text"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let text = said.text();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 9, "{text}");
    let parameters: Vec<_> = rows[1..].iter().map(|row| (row[0], row[1])).collect();
    let levels = ["0", "1", "3", "6"].into_iter();
    assert_eq!(parameters, levels.flat_map(|level| [(level, "hc4"), (level, "bt4")]).collect::<Vec<_>>());
    for row in &rows[1..] {
        let octets: usize = row[2].parse().expect("a size");
        assert!((1..10_000).contains(&octets), "{row:?}");
    }
}

#[test]
fn a_job_is_split_by_what_workers_can_do() {
    let folder = folder();
    let said = example(folder.path(), "slow-and-fast.sh", &["40"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let text = said.text();
    let mut done = [0; 3];
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = ["fast1", "fast2", "slow"].iter().position(|name| words.get(1) == Some(name));
        if let Some(place) = place {
            done[place] = words[0].parse().expect("a count");
        }
    }
    assert_eq!(done.iter().sum::<u32>(), 40, "{text}");
    assert!(done[2] >= 1 && 2 * done[2] < done[0].min(done[1]), "the slow one does its part: {text}");
}

#[test]
fn a_scene_rendered_in_strips_is_the_scene_rendered_at_once() {
    if Command::new("povray").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "povray is missing: apt-get install povray");
        eprintln!("skipped: povray is missing (apt-get install povray)");
        return;
    }
    let folder = folder();
    let said = example(folder.path(), "render.sh", &["tiles.ppm", "160", "90", "5"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let mut whole = Command::new("povray");
    let scene = root().join("examples/spheres.pov");
    let arguments = ["+W160", "+H90", "-A", "-D", "+FP", "+Owhole.ppm"];
    whole.arg(format!("+I{}", scene.display())).args(arguments).current_dir(folder.path());
    assert_eq!(finish(whole, b"").code(), 0);
    let pixels = |name: &str| {
        let file = std::fs::read(folder.path().join(name)).expect("rendered");
        file[file.len() - 160 * 90 * 3..].to_vec()
    };
    assert!(pixels("tiles.ppm") == pixels("whole.ppm"), "the pictures differ");
    assert!(
        std::fs::read(folder.path().join("tiles.ppm"))
            .is_ok_and(|file| file.starts_with(b"P6\n160 90\n255\n"))
    );
}
