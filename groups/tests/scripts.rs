//! Golden scripts: what a cluster of real replicas does, step by step, told as stories. Read them in their
//! order to learn the protocol; `support/commands.rs` lists the commands.
//!
//! `RAFTYARD_GOLDEN=rewrite cargo test -p raftyard-groups --test scripts` writes what the scripts print into
//! them. Rewrite only what you understood, and read the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            support::golden::run(stringify!($name));
        })*

        #[test]
        fn every_script_is_listed() {
            let listed = [$(stringify!($name)),*];
            for file in std::fs::read_dir(support::golden::directory()).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                assert!(listed.contains(&name.as_str()), "{name} is not in tests/scripts.rs");
            }
        }
    };
}

scripts! {
    a01_first_election
    a02_no_majority_no_leader
    a03_leader_fails
    a04_two_candidates
    a05_split_vote
    a06_single_node
    a07_older_log_loses
    a08_vote_is_durable_before_reply
    a09_crash_before_vote_is_durable
    a10_vote_survives_crash
    a11_prevote_isolated_node
    a12_leader_stickiness
    a13_check_quorum
    a14_stranded_candidate
    a15_split_brain
    a16_asymmetric_cannot_hear
    a17_asymmetric_leader_deaf
    a18_asymmetric_leader_mute
    a19_a_candidate_yields
    a20_a_refused_pre_vote_tells_the_term
    b01_figure7_a
    b02_figure7_b
    b03_figure7_c
    b04_figure7_d
    b05_figure7_e
    b06_figure7_f
    b07_figure8_old_term_is_not_counted
    b08_figure8_own_term_commits_all
    b09_divergence_repair
    b10_proposals_elsewhere
    b11_pipelining
    b12_duplicates_and_reordering
    b13_old_append_does_not_truncate
    b14_lost_in_the_pipeline
    b15_window_of_messages
    b16_window_of_bytes
    b17_message_bytes
    b18_lagging_peer_is_loaded
    b19_load_fails
    b20_load_is_overtaken
    b21_late_answers
    b22_malformed_appends
    b23_foreign_messages
    b24_compaction_and_snapshot
    b25_compaction_limits
    b26_snapshot_overtaken
    b27_lost_then_compacted
    b28_snapshot_over_a_conflicting_log
    b29_snapshots_late_twice_and_stale
    c01_leaders_own_disk_counts_when_durable
    c02_followers_commit_before_the_leader
    c03_crash_between_send_and_fsync
    c04_acknowledged_only_when_durable
    c05_late_fsync_after_truncation
    c06_apply_after_restart
    c07_apply_load_fails
    c08_load_of_truncated_entries
    c09_slow_state_machine
    c10_all_restart_with_pending_writes
    c11_memory_keeps_what_the_disk_lacks
    c13_a_damaged_disk_is_repaired
    d01_read_index
    d02_read_waits_for_noop
    d03_a_newer_round_confirms_older_reads
    d04_old_round_confirms_nothing_newer
    d05_read_abandoned
    d06_partitioned_leader_never_serves
    d07_lost_round
    d08_a_round_of_an_earlier_term_confirms_nothing
    e01_learner
    e02_joint_election
    e03_joint_commit_and_read
    e04_even_cluster
    e05_five_nodes_two_down
    e06_slow_follower_holds_nobody_up
    e07_learner_catches_up
    f01_transfer
    f02_transfer_waits_for_the_log
    f03_transfer_to_a_dead_node
    f04_transfer_lost
    f05_transfer_refused
    f06_transfer_to_the_best
    f07_transfer_cut_off
    f08_timeout_now_from_others
    g01_read_at_a_follower
    g02_follower_reads_share_a_request
    g03_lost_read_index
    g04_follower_read_waits_for_noop
    g05_follower_read_and_leader_lost
    g06_follower_read_and_new_leader
    g07_cut_off_leader_confirms_nothing
    g08_lost_read_index_without_heartbeats
    h01_add_and_promote_a_learner
    h02_add_a_voter
    h03_rounds_of_catching_up
    h04_three_to_five
    h05_replace_a_dead_node
    h06_remove_a_follower
    h07_remove_the_leader
    h08_leader_crashes_while_preparing
    h09_leader_crashes_in_uncommitted_joint
    h10_leader_crashes_in_committed_joint
    h11_rolled_back
    h12_not_before_the_first_commit_of_a_term
    h13_refused
    h14_partition_during_a_change
    h15_disjoint_configurations
    h16_a_removed_node_disturbs_nobody
    h17_one_that_is_left_out_may_be_needed
    h18_a_snapshot_carries_the_configuration
    h19_a_snapshot_of_a_joint_configuration
    h20_in_force_when_appended
    h21_witness
    h22_a_witness_comes_and_goes
    h23_a_joining_replica_votes
    h24_restart_recovers_the_configurations
    h25_abandon
    h26_a_voter_becomes_a_learner
    h27_priorities
    h28_a_preferred_node_that_never_hears
    h29_a_leader_whose_disk_stalls
    h30_who_leaves_is_told
    h31_a_witness_is_not_ahead_of_its_leader
    h32_a_leader_whose_disk_is_full
    h33_a_leader_that_cannot_read_what_it_has_to_apply
    h34_a_leader_that_cannot_read_what_a_peer_lacks
    h35_a_preferred_leader_that_cannot_read_what_a_peer_lacks
    h36_each_that_may_read_it_is_tried
    h37_most_disks_are_full
    h38_a_disk_stalls_that_has_to_be_read
    h39_a_leader_whose_first_entry_finds_no_room
    i01_sleeping_and_waking
    i02_a_lost_word_to_sleep
    i03_a_minority_is_down
    i04_leader_lost_while_all_sleep
    i05_reads_by_lease
    i06_lease_lost
    i07_a_resignation
    i08_a_resignation_is_lost
    i09_transfer_under_lease
    i10_a_promise_is_no_matter_of_terms
    i11_a_change_moves_the_quorum
    i12_an_earlier_term_of_the_same_leader
    i13_a_delayed_append
    i14_the_lease_is_off_at_once
    i15_a_replica_starts_anew
    i16_a_node_starts
    i17_one_that_was_missed
    i18_a_link_that_works_one_way
    i19_heartbeats_of_an_older_life
    i20_a_pause_longer_than_the_promise
    i21_a_pair_that_flaps
    i22_words_that_come_late
    i23_no_lease_before_the_first_commit_of_a_term
    i24_one_on_probation_knows_its_leader
    i25_reads_without_leases
    i26_a_witness_asks_its_leader
}
