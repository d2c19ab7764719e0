use super::*;
use crate::results::{Machine, RoundResult};

fn run(load: &str, system: &str, groups: u64, rates: &[f64]) -> RunResult {
    let round = |ops_per_s: &f64| RoundResult {
        ops: 1_000,
        seconds: 1.0,
        ops_per_s: *ops_per_s,
        p50_us: Some(1_500.0),
        p99_us: Some(9_000.0),
        p999_us: None,
        max_us: Some(20_000.0),
        cpu_us_per_op: Some(8.5),
        extra: [("fsyncs_per_op".to_owned(), 0.25)].into(),
    };
    RunResult {
        load: load.to_owned(),
        system: system.to_owned(),
        commit: "c0ffee".to_owned(),
        machine: Machine {
            cpu_model: Some("A <fast> CPU".to_owned()),
            cores: Some(2),
            ..Machine::default()
        },
        date: "2026-01-01T00:00:00Z".to_owned(),
        options: [
            ("groups".to_owned(), groups.to_string()),
            ("value-bytes".to_owned(), "16".to_owned()),
        ]
        .into(),
        rounds: rates.iter().map(round).collect(),
    }
}

fn runs() -> Vec<RunResult> {
    vec![
        run("write48", "raftyard", 48, &[100_000.0, 120_000.0, 90_000.0]),
        run("write1", "raftyard", 1, &[50_000.0]),
        run("write48", "raftyard", 1_000, &[70_000.0]),
        run("write48", "another", 48, &[10_000.0]),
    ]
}

#[test]
fn the_same_files_make_the_same_page_whatever_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut pages = Vec::new();
    for order in [[0, 1, 2, 3], [3, 1, 0, 2]] {
        let (from, out) = (
            dir.path().join(format!("{order:?}")),
            dir.path().join(format!("out {order:?}")),
        );
        fs::create_dir(&from).unwrap();
        for (position, number) in order.into_iter().enumerate() {
            let json = serde_json::to_vec(&runs()[number]).unwrap();
            fs::write(from.join(format!("{position}.json")), json).unwrap();
        }
        fs::write(from.join("notes.txt"), "not a run").unwrap();
        write(&[from], &out).unwrap();
        pages.push(fs::read_to_string(out.join(PAGE)).unwrap());
    }
    assert_eq!(pages[0], pages[1]);
}

#[test]
fn a_page_has_what_the_runs_have() {
    let page = page::page(&sorted(runs()));
    for part in [
        "<h2>Scaling</h2>",
        "raftyard c0ffee: value-bytes 16",
        "<h2>write1</h2>",
        "<h2>write48</h2>",
        "Operations per second",
        "CPU per operation",
        "fsyncs per operation",
        "raftyard, groups 1000",
        "another, groups 48",
        "<td>100000 (90000 to 120000)</td>",
        "<title>p99 9000</title>",
        "A &lt;fast&gt; CPU",
    ] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
    assert!(!page.contains("<title>p99.9"), "nobody measured it");
    assert!(!page.contains("NaN") && !page.contains("inf\""), "{page}");
    for outside in ["http:", "https:", "<script", "<img", "<link"] {
        assert!(!page.contains(outside), "{outside}: it is not self-contained");
    }
    for tag in ["svg", "table", "details", "text", "circle"] {
        let (open, closed) = (
            page.matches(&format!("<{tag}")).count(),
            page.matches(&format!("</{tag}>")).count(),
        );
        assert_eq!(open, closed, "{tag}");
    }
    let position = |part: &str| page.find(part).unwrap();
    assert!(
        position("raftyard, groups 48") < position("raftyard, groups 1000"),
        "numbers are in their order"
    );
}

#[test]
fn runs_of_the_same_have_names_of_their_own() {
    let same = [runs().remove(0), runs().remove(0)];
    let same: Vec<&RunResult> = same.iter().collect();
    assert_eq!(label::labels(&same), ["raftyard (1)", "raftyard (2)"]);
    let mut other = runs().remove(0);
    other.commit = "decade".to_owned();
    assert_eq!(
        label::labels(&[same[0], &other]),
        ["raftyard c0ffee", "raftyard decade"]
    );
}

#[test]
fn a_run_without_operations_has_no_cost_of_one() {
    let mut idle = run("idle", "raftyard", 10, &[0.0]);
    idle.rounds = vec![RoundResult {
        seconds: 1.0,
        extra: [("cpu_cores".to_owned(), 0.5)].into(),
        ..RoundResult::default()
    }];
    let page = page::page(&[idle]);
    assert!(page.contains("CPU, cores kept busy"), "{page}");
    assert!(
        !page.contains("Operations per second") && !page.contains("Latency"),
        "{page}"
    );
}

#[test]
fn what_is_no_run_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("odd.json");
    let error = |files: &[PathBuf]| write(files, dir.path()).unwrap_err().to_string();
    assert!(error(&[dir.path().to_owned()]).contains("no run"));
    assert!(
        error(std::slice::from_ref(&file)).contains("odd.json"),
        "it is not there"
    );
    fs::write(&file, "{\"load\": 7}").unwrap();
    assert!(error(&[dir.path().to_owned()]).contains("odd.json"));
    assert!(!dir.path().join(PAGE).exists());
}
