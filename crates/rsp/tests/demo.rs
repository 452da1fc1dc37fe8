//! `rsp demo`: small pictures, the whole story, and what can go wrong with files.

mod common;

use common::run;
use std::path::Path;
use std::process::Command;

/// Enough tiles for a story by progress, few enough for a test.
const SIZE: [&str; 2] = ["--size", "896x640"];

fn demo(folder: &Path, more: &[&str]) -> common::Said {
    let mut command = common::rsp();
    command.arg("demo").args(more).current_dir(folder);
    common::finish(command, b"")
}

#[test]
fn the_picture_is_identical_although_workers_and_a_registrar_die() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = demo(folder.path(), &SIZE);
    assert_eq!(said.code(), 0, "{}{}", said.text(), said.stderr);
    let (text, story) = (said.text(), said.stderr);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in ["tiles accepted 35 of 35", "tasks lost 0", "fail-overs 2", "identical, octet by octet"] {
        assert!(words.contains(line), "{text}");
    }
    let moments =
        ["killed worker", "stopped worker", "killed registrar", "continued worker", "too late: discarded"];
    let places: Vec<_> =
        moments.iter().map(|moment| story.find(moment).expect("part of the story")).collect();
    assert!(places.is_sorted(), "{story}");
    let png = std::fs::read(folder.path().join("rsp-demo.png")).expect("written");
    let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().expect("a PNG");
    let info = reader.info();
    assert_eq!((info.width, info.height), (896, 640));
    let mut pixels = vec![0; reader.output_buffer_size().expect("fits")];
    reader.next_frame(&mut pixels).expect("complete");
    assert!(pixels.iter().any(|octet| *octet > 200), "it shows something");
}

#[test]
fn calm_leaves_out_the_killing_and_a_scene_is_drawn_as_described() {
    let folder = tempfile::tempdir().expect("a folder");
    let scene = "set = julia -0.4 0.6\nsize = 200x100\nspan = 3.2\ncenter = 0 0\niterations = 300\n";
    std::fs::write(folder.path().join("julia.scene"), scene).expect("room");
    let said = demo(folder.path(), &["--calm", "--scene", "julia.scene", "--out", "j.png"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let words = said.text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("fail-overs 0"), "{words}");
    assert!(!said.stderr.contains("killed"), "{}", said.stderr);
    let once = std::fs::read(folder.path().join("j.png")).expect("written");
    let said =
        demo(folder.path(), &["--calm", "--scene", "julia.scene", "--size", "100x50", "--out", "k.png"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert_ne!(std::fs::read(folder.path().join("k.png")).expect("written"), once);
}

#[test]
fn bad_scenes_and_sizes_are_usage_errors_that_name_the_place() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad.scene"), "span = 1\niterations = many\n").expect("room");
    let cases: [(&[&str], &str); 5] = [
        (&["--size", "200x200"], "4 tiles are too few"),
        (&["--size", "big"], "--size big"),
        (&["--size", "0x10"], "--size 0x10"),
        (&["--scene", "missing.scene"], "missing.scene"),
        (&["--scene", "bad.scene"], "line 2"),
    ];
    for (words, part) in cases {
        let said = demo(folder.path(), words);
        assert_eq!(said.code(), 2, "{words:?}");
        assert!(said.stderr.contains(part), "{}", said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    }
    assert!(!folder.path().join("rsp-demo.png").exists());
}

#[test]
fn a_place_where_nothing_can_be_written_is_told_before_anything_is_computed() {
    let said = run(["demo", "--calm", "--out", "/nonexistent/folder/x.png"]);
    assert_eq!(said.code(), 6, "{}", said.stderr);
    assert!(
        said.stderr.contains("/nonexistent/folder/x.png") && said.stderr.contains("--out"),
        "{}",
        said.stderr
    );
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
}

#[test]
fn a_full_disk_is_told_in_one_line_and_leaves_no_half_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = folder.path().join("small");
    std::fs::create_dir(&small).expect("room");
    let mount = |words: &[&str]| Command::new(words[0]).args(&words[1..]).arg(&small).status();
    let mounted = mount(&["mount", "-t", "tmpfs", "-o", "size=16k", "none"]);
    if !mounted.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "cannot mount a small disk");
        eprintln!("skipped: cannot mount a small disk here");
        return;
    }
    let said = demo(folder.path(), &["--calm", "--size", "640x360", "--out", "small/x.png"]);
    let left = std::fs::read_dir(&small).expect("mounted").count();
    assert!(mount(&["umount"]).is_ok_and(|status| status.success()));
    assert_eq!(said.code(), 6, "{}", said.stderr);
    assert!(
        said.stderr.contains("No space left") && said.stderr.contains("free some space"),
        "{}",
        said.stderr
    );
    assert_eq!(left, 0, "a half file");
}
