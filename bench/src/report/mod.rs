//! A page with plots of what runs left: of the same files always the same page.

mod axis;
mod label;
mod page;
mod plot;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::Failure;
use crate::results::RunResult;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the page.
const PAGE: &str = "report.html";

/// Makes one page of these files, and of the `.json` files in these directories, and writes it into `out`.
///
/// # Errors
///
/// Names the file that can't be read or written, or that is no run.
pub(crate) fn write(files: &[PathBuf], out: &Path) -> Result<(), Failure> {
    let mut runs = Vec::new();
    for file in all(files)? {
        let text = fs::read(&file).map_err(|error| at(&file, &error))?;
        let run = serde_json::from_slice(&text).map_err(|error| format!("{}: it is no run: {error}", file.display()));
        runs.push(run?);
    }
    if runs.is_empty() {
        return Err("there is no run to report: no .json file was found".into());
    }
    let page = page::page(&sorted(runs));
    fs::create_dir_all(out).map_err(|error| at(out, &error))?;
    let path = out.join(PAGE);
    fs::write(&path, page).map_err(|error| at(&path, &error))?;
    eprintln!("{}", path.display());
    Ok(())
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Files, and those in directories.
fn all(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        for entry in fs::read_dir(path).map_err(|error| at(path, &error))? {
            let file = entry.map_err(|error| at(path, &error))?.path();
            if file.extension().is_some_and(|extension| extension == "json") {
                files.push(file);
            }
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// In an order that does not depend on the names of files.
fn sorted(mut runs: Vec<RunResult>) -> Vec<RunResult> {
    let key = |run: &RunResult| {
        let options: Vec<_> = run
            .options
            .iter()
            .map(|(name, value)| (name.clone(), padded(value)))
            .collect();
        (
            run.load.clone(),
            run.system.clone(),
            options,
            run.date.clone(),
            run.commit.clone(),
        )
    };
    runs.sort_by_cached_key(key);
    runs
}

/// So that numbers are in their own order among each other.
fn padded(value: &str) -> String {
    match value.parse::<u64>() {
        Ok(number) => format!("{number:020}"),
        Err(_) => value.to_owned(),
    }
}
