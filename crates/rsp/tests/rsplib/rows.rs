//! The list of rows that people read.

/// Every test of this program is a row, but for this one, and `docs/rsplib.md` names each, and no other.
#[test]
fn every_row_is_listed_in_the_documentation() {
    if guest::inside() {
        return;
    }
    let program = std::env::current_exe().expect("a program has a path");
    let output = std::process::Command::new(program)
        .args(["--list", "--format", "terse", "--include-ignored"])
        .output()
        .expect("this program can be started");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut rows: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    rows.retain(|row| !row.starts_with("rows::"));
    rows.sort_unstable();
    assert!(rows.len() > 40, "{list}");
    let page = include_str!("../../../../docs/rsplib.md");
    let (_, listed) = page.split_once("## The rows").expect("a list of rows");
    let mut listed: Vec<&str> =
        listed.lines().filter_map(|line| line.strip_prefix("* `")?.strip_suffix('`')).collect();
    listed.sort_unstable();
    assert_eq!(listed, rows, "docs/rsplib.md lists the rows there are");
    // Whatever else it calls by the name of a row is one.
    for name in page.split('`').skip(1).step_by(2) {
        let of_ours = rows.iter().any(|row| {
            name.split_once("::").map(|(room, _)| room) == row.split_once("::").map(|(room, _)| room)
        });
        assert!(!of_ours || rows.contains(&name), "docs/rsplib.md speaks of `{name}`, which is no row");
    }
}
