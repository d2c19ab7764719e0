//! Messages that no replica sent: stale, foreign or malformed ones.
//!
//! `inject n1 n2 term=3 KIND` with `append prev=1@1 entries=2@1,3@3 commit=1`, `accepted matched=4`,
//! `rejected refused=4 hint=2@1`, `heartbeat commit=2 round=0`, `heartbeat-reply round=1`, `vote last=4@2`,
//! `transfer-vote last=4@2`, `vote-granted`, `vote-refused`, `pre-vote last=4@2`, `resigned`,
//! `sleep last=1@1 commit=1 session=b1.1`; acknowledgements may have a session too. `group=9` and `incarnation=9` make
//! it a foreign one.

use super::commands::{Args, parse};
use raftyard_groups::{
    Body, Entry, GroupId, Incarnation, LogId, LogIndex, Message, NodeIncarnation, Payload, Promise, Prompt, ReadRound,
    SessionId, Term,
};

pub(crate) fn message(args: &Args<'_>) -> Message {
    let index = |name| LogIndex(args.named(name).unwrap_or_default());
    let id_of = |name| args.named::<String>(name).map_or(LogId::ZERO, |word| id(&word));
    let round = ReadRound(args.named("round").unwrap_or_default());
    let body = match args.word(3) {
        "append" => Body::Prompt(Prompt::Append {
            prev: id_of("prev"),
            entries: args
                .named::<String>("entries")
                .map_or(Vec::new(), |list| list.split(',').map(entry).collect()),
            commit: index("commit"),
        }),
        "rejected" => Body::Prompt(Prompt::AppendRejected {
            refused: index("refused"),
            hint: id_of("hint"),
        }),
        "heartbeat" => Body::Prompt(Prompt::Heartbeat {
            commit: index("commit"),
            round,
        }),
        "heartbeat-reply" => Body::Prompt(Prompt::HeartbeatReply {
            round,
            priority: args.named("priority").unwrap_or_default(),
            commit: index("commit"),
            session: session(args),
        }),
        "pre-vote" => Body::Prompt(Prompt::PreVote { last: id_of("last") }),
        "accepted" => Body::Promise(Promise::AppendAccepted {
            matched: index("matched"),
            session: session(args),
        }),
        "sleep" => Body::Prompt(Prompt::Sleep {
            last: id_of("last"),
            commit: index("commit"),
            session: session(args).expect("whoever says so names a session"),
        }),
        "resigned" => Body::Prompt(Prompt::Resigned),
        "timeout-now" => Body::Prompt(Prompt::TimeoutNow),
        "vote" => Body::Promise(Promise::Vote {
            last: id_of("last"),
            transfer: false,
        }),
        "transfer-vote" => Body::Promise(Promise::Vote {
            last: id_of("last"),
            transfer: true,
        }),
        "vote-refused" => Body::Prompt(Prompt::VoteRefused),
        "vote-granted" => Body::Promise(Promise::VoteGranted),
        other => panic!("no such message: {other}"),
    };
    Message {
        group: GroupId(args.named("group").unwrap_or(1)),
        incarnation: Incarnation(args.named("incarnation").unwrap_or(1)),
        from: args.node(1),
        to: args.node(2),
        term: Term(args.named("term").expect("a message has a term")),
        body,
    }
}

/// `b1.2`: the second session that a node granted in its first life.
fn session(args: &Args<'_>) -> Option<SessionId> {
    let word = args.named::<String>("session")?;
    let (boot, counter) = word.trim_start_matches('b').split_once('.').expect("a session is b1.2");
    let boot = parse(boot);
    Some(SessionId {
        granter: NodeIncarnation { boot, random: boot },
        counter: parse(counter),
    })
}

fn id(word: &str) -> LogId {
    let (index, term) = word.split_once('@').expect("an id is index@term");
    LogId::new(parse(term), parse(index))
}

fn entry(word: &str) -> Entry {
    let id = id(word);
    Entry {
        index: id.index,
        term: id.term,
        payload: Payload::Command(format!("old{}", id.index).into()),
    }
}
