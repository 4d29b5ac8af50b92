//! Every subcommand explains itself, and wrong usage is told apart from failure.

use std::process::Command;

use tandem_testkit::{Output, run, tandem};

/// Columns of the narrowest terminal that examples are written for.
const WIDTH: usize = 80;

fn call(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new(tandem()).args(args).current_dir(folder.path()))
}

#[test]
fn every_command_has_examples() {
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = call(&words).success();
        assert!(help.contains("\nExamples:\n  "), "tandem {}: no examples in\n{help}", path.join(" "));
        let examples = help.split_once("\nExamples:\n").unwrap().1;
        let wide = examples.lines().find(|line| line.len() > WIDTH);
        assert_eq!(wide, None, "an example would be broken on a terminal");
        seen += 1;
        let commands = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
        let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            open.push(path.iter().cloned().chain([name.to_owned()]).collect());
        }
    }
    assert!(seen >= 17, "only {seen} commands were found");
}

#[test]
fn the_commands_are_those_that_were_fixed_early() {
    let help = call(&["--help"]).success();
    for name in ["serve", "publish", "nodes", "resolve", "zone", "check-config", "token"] {
        assert!(help.contains(&format!("\n  {name} ")), "{name}: {help}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [
        &["no-such-command"][..],
        &["serve", "--dns", "x"],
        &["serve", "--no-such-flag"],
        &["publish", "a.test"],
        &["publish", "a.test", "--address", "192.0.2.1", "--target", "b.test:1"],
        &["resolve", ""],
        &["resolve", "a.test", "--server", "x"],
        &["token", "new"],
        &["nodes", "show"],
    ] {
        call(args).failure(2);
    }
}

#[test]
fn the_version_is_told() {
    assert_eq!(call(&["--version"]).success(), format!("tandem {}\n", env!("CARGO_PKG_VERSION")));
}
