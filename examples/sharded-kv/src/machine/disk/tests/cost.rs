//! What keys on disk cost, printed:
//! `RAFTYARD_KEYS=1000000 cargo test --release -p sharded-kv --bin raftyard-kv what_keys_on_disk_cost -- --ignored --nocapture`

use std::time::Instant;

use super::*;

/// Commands that become one batch, with what a session has to remember of them.
const BATCH: u64 = 64;

#[test]
#[ignore = "a measurement"]
fn what_keys_on_disk_cost() {
    let keys = std::env::var("RAFTYARD_KEYS").map_or(100_000, |keys| keys.parse().unwrap());
    let store = TestStore::new();
    let mut machine = store.machine(GroupId(1));
    for (what, step) in [("new keys", 1), ("keys that are overwritten", 7_919)] {
        let start = Instant::now();
        for number in 0..keys {
            let key = format!("key:{:012}", number * step % keys);
            let set = Command::set(key.as_bytes().into(), [b'x'; 100][..].into(), Expiry::Never);
            machine.apply(set, Timestamp(1_000)).unwrap();
            if (number + 1) % BATCH == 0 {
                let applied = record("applied", Some(&number.to_string()));
                let session = record(&format!("w{}", number / BATCH), Some(&"r".repeat(160)));
                let settled = record(&format!("w{}", (number / BATCH).saturating_sub(10)), None);
                machine.commit(&[applied, session, settled]).unwrap();
            }
        }
        machine.commit(&[]).unwrap();
        let rate = keys as f64 / start.elapsed().as_secs_f64();
        println!("{what}: {rate:.0} writes/s");
    }
    drop(machine);
    let start = Instant::now();
    let store = store.reopen(|_| true);
    println!("opened in {:.0?}", start.elapsed());
    assert_eq!(
        store.machine(GroupId(1)).count(),
        Answer::Integer(i64::try_from(keys).unwrap())
    );
}
