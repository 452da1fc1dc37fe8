//! `rsp run --call`: functions of Rust workers from the command line.

mod common;

use common::{Server, finish, rsp};
use rserpool_net::pool::{Call, Function, Problem, Serving, Worker};
use std::process::Command;

/// `a / b`.
struct Divide;

impl Function for Divide {
    const NAME: &'static str = "divide";
    type Input = (u32, u32);
    type Output = Option<u32>;
    type Progress = ();

    fn call(&self, (dividend, divisor): (u32, u32), _: &mut Call<'_, ()>) -> Result<Option<u32>, Problem> {
        Ok(dividend.checked_div(divisor))
    }
}

fn worker(registrar: &Server) -> Serving {
    let worker = Worker::new("numbers").registrar(registrar.asap().to_string()).function(Divide);
    worker.start().expect("the registrar is there")
}

fn run(registrar: &Server, words: &[&str]) -> Command {
    let mut command = rsp();
    command.args(["run", "--registrar", &registrar.asap().to_string()]).args(words);
    command
}

#[test]
fn words_are_the_input_and_the_output_is_a_line_of_json() {
    let registrar = Server::registrar(&[]);
    let _worker = worker(&registrar);
    let words = ["--pool", "numbers", "--keep-order", "--call", "--", "divide", "{}", "2"];
    let said = finish(run(&registrar, &words), b"6\n9\n");
    assert_eq!((said.code(), said.text().as_str()), (0, "3\n4\n"), "{}", said.stderr);
    let words = ["--pool", "numbers", "--call", "--", "divide", ":::", "[6, 0]"];
    let said = finish(run(&registrar, &words), b"");
    assert_eq!((said.code(), said.text().as_str()), (0, "null\n"), "{}", said.stderr);
}

#[test]
fn what_is_no_input_and_what_is_no_function_fail_the_task_with_the_reason() {
    let registrar = Server::registrar(&[]);
    let _worker = worker(&registrar);
    let said = finish(run(&registrar, &["--pool", "numbers", "--call", "--", "divide", ":::", "six"]), b"");
    assert_eq!(said.code(), 1);
    assert!(
        said.stderr.contains("the input is not what function 'divide' of this worker takes"),
        "{}",
        said.stderr
    );
    let said = finish(run(&registrar, &["--pool", "numbers", "--call", "--", "add", ":::", "1"]), b"");
    assert_eq!(said.code(), 1);
    assert!(said.stderr.contains("has no function 'add'; it has: divide"), "{}", said.stderr);
    let _programs = Server::worker(&registrar, &[]);
    let said = finish(run(&registrar, &["--call", "--", "add", ":::", "1"]), b"");
    assert_eq!(said.code(), 1);
    assert!(said.stderr.contains("runs programs and has no function 'add'"), "{}", said.stderr);
}

#[test]
fn files_and_limits_of_processes_are_refused_for_functions() {
    for words in [["--input", "x"], ["--timeout", "1"]] {
        let mut command = rsp();
        command.args(["run", "--call"]).args(words).args(["--", "echo", ":::", "1"]);
        let said = finish(command, b"");
        assert_eq!(said.code(), 2);
        assert!(said.stderr.contains("cannot be used with"), "{}", said.stderr);
    }
}

#[test]
fn every_worker_has_echo() {
    let said = finish(
        {
            let mut command = rsp();
            command.args(["run", "--keep-order", "--call", "--", "echo", "it", "is"]);
            command
        },
        b"one\ntwo\n",
    );
    assert_eq!((said.code(), said.text().as_str()), (0, "it is one\nit is two\n"), "{}", said.stderr);
}
