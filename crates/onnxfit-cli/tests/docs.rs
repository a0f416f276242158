//! The pages under `docs/`: every command is run, every answer is a real one, every program works.
//!
//! A `console` block holds commands behind `$ ` and what they print. `…` in a line stands for what
//! changes from run to run, a line of it alone for lines left out. A `python` block is run with the
//! blocks before it on the same page; a comment `# prints: …` holds its output. With
//! `UPDATE_EXPECT=1` answers without `…` are written anew.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// A folder to run one page in, where `examples/` is.
fn desk() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::os::unix::fs::symlink(root().join("examples"), folder.path().join("examples")).expect("a link");
    folder
}

/// A fenced block: its language, the lines inside, and the line numbers of its fences.
struct Block {
    language: String,
    lines: Vec<String>,
    from: usize,
    to: usize,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (open.take(), line.strip_prefix("```")) {
            (Some(block), Some("")) => found.push(Block { to: number, ..block }),
            (Some(mut block), _) => {
                block.lines.push(line.to_owned());
                open = Some(block);
            }
            (None, Some(language)) => {
                open = Some(Block { language: language.to_owned(), lines: Vec::new(), from: number, to: number });
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// Runs the commands of a block; the block as it should be.
fn console(block: &Block, folder: &Path) -> Vec<String> {
    let mut made = Vec::new();
    let mut lines = block.lines.iter().peekable();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else {
            panic!("output before the first command: {line}");
        };
        made.push(line.clone());
        let mut script = command.to_owned();
        while script.ends_with('\\') {
            let next = lines.next().expect("a command that goes on");
            made.push(next.clone());
            script = format!("{} {}", script.trim_end_matches('\\'), next.trim());
        }
        let mut wanted = Vec::new();
        while let Some(next) = lines.next_if(|next| !next.starts_with("$ ")) {
            wanted.push(next.clone());
        }
        let got = shell(&script, folder);
        made.extend(if agrees(&wanted, &got) { wanted } else { got });
    }
    made
}

/// stdout, then stderr, then the exit code where it is no yes.
fn shell(script: &str, folder: &Path) -> Vec<String> {
    let binary = Path::new(env!("CARGO_BIN_EXE_onnxfit"));
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-c", script])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", binary.parent().expect("a folder").display()))
        .output()
        .expect("bash starts");
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    // What is talked while it works is no answer.
    if !output.status.success() {
        lines.extend(
            errors.lines().filter(|line| line.starts_with("error:") || line.starts_with("  hint:")).map(str::to_owned),
        );
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Whether lines are those wanted; `…` stands for anything, alone on a line for any lines.
fn agrees(wanted: &[String], got: &[String]) -> bool {
    match wanted.split_first() {
        None => got.is_empty(),
        Some((first, rest)) if first.trim() == "…" => (0..=got.len()).any(|skipped| agrees(rest, &got[skipped..])),
        Some((first, rest)) => {
            got.split_first().is_some_and(|(line, left)| line_agrees(first, line) && agrees(rest, left))
        }
    }
}

fn line_agrees(wanted: &str, got: &str) -> bool {
    let mut parts = wanted.split('…');
    let Some(mut left) = got.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return left.is_empty() };
    for part in between {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// Runs the programs of a page so far; what the last one prints.
fn python(programs: &[String], folder: &Path) -> Option<Vec<String>> {
    let python = std::env::var_os("ONNXFIT_PYTHON")?;
    let (last, before) = programs.split_last()?;
    let mark = "import sys as _sys; print('\\x1e', flush=True)";
    let before: String = before.iter().map(|program| format!("{program}\n")).collect();
    let script = folder.join(".page.py");
    std::fs::write(&script, format!("{before}{mark}\n{last}\n")).expect("a script");
    let output = Command::new(python).arg(".page.py").current_dir(folder).output().expect("Python starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{last}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let shown = text.split_once("\u{1e}\n").map_or("", |(_, shown)| shown);
    Some(shown.lines().map(|line| format!("# prints: {line}").trim_end().to_owned()).collect())
}

fn hold(page: &Path) {
    let text = std::fs::read_to_string(page).expect("a page");
    let folder = desk();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut programs = Vec::new();
    let mut changes = Vec::new();
    for block in blocks(&text) {
        match block.language.as_str() {
            "console" => changes.push((block.from, block.to, console(&block, folder.path()))),
            "python" => {
                let is_output = |line: &&String| line.starts_with("# prints:");
                let program: Vec<String> = block.lines.iter().filter(|line| !is_output(line)).cloned().collect();
                // The package is built by its own test, which runs these.
                if program.iter().any(|line| line.contains("onnxfit")) {
                    continue;
                }
                programs.push(program.join("\n"));
                let wanted: Vec<String> = block.lines.iter().filter(is_output).cloned().collect();
                if let Some(got) = python(&programs, folder.path())
                    && !agrees(&wanted, &got)
                {
                    changes.push((block.from, block.to, [program, got].concat()));
                }
            }
            _ => {}
        }
    }
    for (from, to, made) in changes.into_iter().rev() {
        lines.splice(from + 1..to, made);
    }
    let made = lines.join("\n") + "\n";
    if made != text {
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(page, made).expect("a page that can be written");
            return;
        }
        let shown: Vec<String> = made.lines().filter(|line| !text.contains(*line)).map(str::to_owned).collect();
        panic!("{} says something else than is printed:\n{}", page.display(), shown.join("\n"));
    }
}

macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        $(
            #[test]
            fn $test() {
                hold(&root().join("docs").join($page));
            }
        )*

        #[test]
        fn every_page_is_held() {
            let held = [$($page,)* "errors.md"];
            for page in std::fs::read_dir(root().join("docs")).expect("a folder").flatten() {
                let name = page.file_name().to_string_lossy().into_owned();
                assert!(held.contains(&name.as_str()), "docs/{name} has no line in this list");
            }
        }
    };
}

pages! {
    index: "README.md",
    check: "check.md",
    fix: "fix.md",
    recommend: "recommend.md",
    explain: "explain.md",
    measure: "measure.md",
    convert: "convert.md",
    quantize: "quantize.md",
    prune: "prune.md",
    train: "train.md",
    run: "run.md",
    serve: "serve.md",
    deploy: "deploy.md",
    split: "split.md",
    watch: "watch.md",
    runtime: "runtime.md",
    python_package: "python.md",
    questions: "questions.md",
}

#[test]
fn a_page_may_leave_out_what_changes() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(agrees(&lines("a … c\n…\nend"), &lines("a b c\nx\ny\nend")));
    assert!(agrees(&lines("took … s, … rows"), &lines("took 1.2 s, 4 rows")));
    assert!(!agrees(&lines("took … s"), &lines("took 1.2 s, 4 rows")));
    assert!(!agrees(&lines("a\n…\nend"), &lines("a\nb")));
}
