use super::*;
use crate::ctl::ask::fields;

/// `node` and what else it says of its replica of a whole group of three, which lost its leader.
fn replica(node: u64, said: &str) -> Replica {
    let lost = "incarnation=1 state=running leader=0 last-term=2 last=9 voters=1,2,3";
    let fields = fields(&format!("{lost} {said}"));
    Replica { node, fields }
}

#[test]
fn a_group_of_which_one_is_left_may_be_rebuilt() {
    assert_eq!(objection(&[replica(3, "")], 3), None);
    // Who waits, learns or stopped elects nobody.
    let useless = ["voters=", "voters=1,3,4", "state=damaged", "state=stopped leader=1"];
    for said in useless {
        assert_eq!(objection(&[replica(2, said), replica(3, "")], 3), None, "{said}");
    }
}

#[test]
fn a_group_that_can_go_on_is_not_rebuilt() {
    let led = Some(Objection::Led { leader: 1 });
    let all = [replica(1, "leader=1"), replica(2, "leader=1"), replica(3, "last=3")];
    assert_eq!(objection(&all, 3), led);
    assert_eq!(
        objection(&[replica(3, "leader=1")], 3),
        led,
        "it hears a leader that does not answer here"
    );
    let quorum = Some(Objection::Quorum { nodes: [2, 3].into() });
    assert_eq!(
        objection(&[replica(2, ""), replica(3, "")], 3),
        quorum,
        "between two leaders"
    );
    let joint = "outgoing=3,4,5";
    assert_eq!(
        objection(&[replica(2, joint), replica(3, joint)], 3),
        None,
        "of one half of a joint configuration too few are there"
    );
}

#[test]
fn the_newest_entries_count_by_term_then_by_index() {
    let newer = |node| {
        Some(Objection::Newer {
            node,
            last: (3, 5),
            of: (2, 9),
        })
    };
    let all = |said| [replica(2, said), replica(3, "state=damaged")];
    assert_eq!(objection(&all("last-term=3 last=5"), 3), newer(2));
    assert_eq!(objection(&all("last-term=3 last=5"), 2), None);
    assert_eq!(objection(&all("last=9"), 3), None, "they are the same");
    assert_eq!(objection(&all("last-term=1 last=99"), 3), None);
}

#[test]
fn what_a_rebuilt_group_left_behind_is_not_rebuilt_and_its_nodes_come_back() {
    let rebuilt = format!("incarnation={} voters=3 leader=3", REBUILT + 7);
    let waits = format!("incarnation={} voters=", REBUILT + 7);
    let mut waiting = replica(4, &waits);
    waiting.fields.remove("voters");
    let all = [replica(1, ""), replica(2, ""), replica(3, &rebuilt), waiting];
    assert_eq!(objection(&all, 1), Some(Objection::LeftBehind { node: 1, others: 3 }));
    assert_eq!(objection(&all, 5), Some(Objection::NoReplica { node: 5 }));
    assert!(is_rebuilt(&all, 3) && !is_rebuilt(&all, 1));
    assert_eq!(missing(&all), [1, 2, 4]);
    assert!(
        !is_rebuilt(&[replica(1, "leader=1"), replica(3, "leader=1")], 1),
        "it was never rebuilt"
    );

    let coming = format!("incarnation={} voters=3 next-voters=2,3 leader=3", REBUILT + 7);
    assert_eq!(missing(&[replica(2, &coming), replica(3, &coming)]), [2]);
    let whole = format!("incarnation={} voters=2,3 leader=3", REBUILT + 7);
    assert_eq!(missing(&[replica(2, &whole), replica(3, &whole)]), [0_u64; 0]);
}
