//! Faults that the simulator builds in to show that the observer finds them.

/// A replacement in a script's text.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    /// The script's name, or the beginning of several.
    pub script: &'static str,
    /// What is replaced, once in each of them.
    pub from: &'static str,
    /// What stands there instead.
    pub to: &'static str,
}

/// A fault in the simulator's own part of a gateway: what happens to its calls on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Calls of this script never arrive, and are answered with zeros.
    Drop(&'static str),
    /// The record forgets one write in three.
    ForgetfulRecord,
    /// The record lets every gateway claim every epoch.
    OpenRecord,
}

/// A known fault.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is wrong.
    pub fault: &'static str,
    /// The scripts' part of it.
    pub edits: &'static [Edit],
    /// The gateway's part of it.
    pub hook: Option<Hook>,
}

const fn script(name: &'static str, fault: &'static str, edits: &'static [Edit]) -> Mutant {
    Mutant { name, fault, edits, hook: None }
}

const fn hook(name: &'static str, fault: &'static str, hook: Hook) -> Mutant {
    Mutant { name, fault, edits: &[], hook: Some(hook) }
}

const fn edit(script: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { script, from, to }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    script(
        "offers-not-counted",
        "Offers do not count towards the capacity.",
        &[edit(
            "queue/",
            "settings.maxActive - redis.call('ZCARD', OFFERS) - redis.call('ZCARD', LEASES)",
            "settings.maxActive - redis.call('ZCARD', LEASES)",
        )],
    ),
    script(
        "bucket-refilled-twice",
        "The token buckets are refilled at twice the rate.",
        &[edit("queue/", "* rate_until_now / 1000", "* rate_until_now / 500")],
    ),
    script(
        "claims-not-paced",
        "Offers are claimed as fast as people come.",
        &[edit("queue/poll", "    claims = claims - 1\n  end", "  end")],
    ),
    script(
        "leaver-keeps-the-lease",
        "A person who leaves stays inside.",
        &[edit("queue/leave", "  redis.call('ZREM', LEASES, user)\n  redis.call('HDEL', PASSES, user)\n", "")],
    ),
    script(
        "leaver-stays-in-line",
        "A person who leaves is not taken out of line.",
        &[edit("queue/leave", "{ WAITING, AWAY, PRESENT, GATHERED }", "{ AWAY, PRESENT, GATHERED }")],
    ),
    script(
        "one-more-than-the-capacity",
        "One more offer is made than places are free.",
        &[edit(
            "queue/",
            "math.floor(bucket + 0.000001), free_places()",
            "math.floor(bucket + 0.000001), free_places() + 1",
        )],
    ),
    script(
        "position-given-twice",
        "Every tenth newcomer gets the position of the one before.",
        &[edit(
            "queue/join",
            "room.seq, room.joins = room.seq + 1, room.joins + 1",
            "room.joins = room.joins + 1\n  if room.joins % 10 ~= 0 then room.seq = room.seq + 1 end",
        )],
    ),
    script(
        "last-first",
        "The end of the line gets offers first.",
        &[edit(
            "queue/admit",
            "redis.call('ZRANGE', WAITING, 0, wanted - 1, 'WITHSCORES')",
            "redis.call('ZRANGE', WAITING, 0, wanted - 1, 'REV', 'WITHSCORES')",
        )],
    ),
    script(
        "walks-in-past-the-line",
        "A newcomer walks in although people are in line.",
        &[edit("queue/join", "free >= 1 and (in_front == 0 or settings.mode == 'passthrough')", "free >= 1")],
    ),
    script(
        "lease-never-ends",
        "An admission is good after its end.",
        &[
            edit(
                "queue/poll",
                "if lease_end and lease_end > now then\n      return STATE.admitted",
                "if lease_end then\n      return STATE.admitted",
            ),
            edit("queue/", "local function expire(limit)\n", "local function expire(limit)\n  do return end\n"),
        ],
    ),
    script(
        "returned-to-the-end",
        "A person who comes back gets a new position.",
        &[edit(
            "queue/",
            "    redis.call('ZADD', WAITING, position, user)\n    note('returned', user, position)",
            "    room.seq = room.seq + 1\n    position = room.seq\n    redis.call('ZADD', WAITING, position, user)",
        )],
    ),
    script(
        "absent-too-soon",
        "People count as absent at the moment of their next poll.",
        &[edit(
            "queue/admit",
            "return tonumber(present_until_ms) <= now",
            "return tonumber(present_until_ms) <= now + 9900",
        )],
    ),
    script(
        "offer-is-never-taken-back",
        "An offer that is not claimed is never taken back.",
        &[edit("queue/admit", "redis.call('ZRANGE', OFFERS, '-inf', now,", "redis.call('ZRANGE', OFFERS, '-inf', 0,")],
    ),
    script(
        "no-gap",
        "Positions do not jump when an epoch begins after a loss.",
        &[edit("queue/open", "tonumber(ARGV[9])) + tonumber(ARGV[11])", "tonumber(ARGV[9]))")],
    ),
    script(
        "older-word-wins",
        "Of two words about a person the older one is kept.",
        &[edit(
            "queue/retell",
            "if known_epoch < epoch or known_epoch == epoch and known_version < version then",
            "if not known or known_epoch > epoch or known_epoch == epoch and known_version > version then",
        )],
    ),
    script(
        "words-not-kept",
        "What gateways retell is not kept.",
        &[edit("queue/retell", "if is_new and is_behind and", "if false and")],
    ),
    script(
        "rollback-unnoticed",
        "A room that was rolled back is not found lost.",
        &[
            edit("queue/", "room.epoch == seen_epoch and room.version < seen_version", "false"),
            edit("queue/", "return room.server ~= server()", "return false"),
        ],
    ),
    script(
        "other-server-unnoticed",
        "A room does not compare the server that it was opened in.",
        &[edit("queue/", "return room.server ~= server()", "return false")],
    ),
    script(
        "epoch-forgotten",
        "A late message of an earlier rebuild is taken.",
        &[edit("queue/restore", "if not room.rebuilding or tonumber(ARGV[7]) ~= room.epoch then", "if false then")],
    ),
    script(
        "rebuild-ended-at-once",
        "A rebuild ends before anybody is back.",
        &[edit("queue/open", "is_first_life and 0 or 1, 'base_epoch'", "0, 'base_epoch'")],
    ),
    script(
        "offers-during-the-rebuild",
        "Offers are made before the people in front are back.",
        &[
            edit("queue/", "now < room.return_until_ms or", "false or"),
            edit("queue/", "or room.rebuilding and room.rebuilt_up_to == 0", ""),
            edit("queue/admit", "if not is_rebuilt(tonumber(next_in_line[i + 1])) then break end", ""),
        ],
    ),
    script(
        "full-buckets-after-a-loss",
        "The buckets are full when an epoch begins.",
        &[edit("queue/open", "bucket, claims = 0, 0", "bucket, claims = settings.burst, settings.burst")],
    ),
    script(
        "denied-while-rebuilding",
        "A person who is not back yet is answered that they left.",
        &[
            edit("queue/poll", "  if is_rebuilt(position) then", "  if true then"),
            edit("queue/poll", "return STATE.unknown, position, -1, 0", "return STATE.left, position, -1, 0"),
        ],
    ),
    script(
        "departures-come-back",
        "A word that somebody left puts them back in line.",
        &[edit("queue/restore", "if kind == 'left' or kind == 'expired' or kind", "if kind")],
    ),
    script(
        "token-taken-at-its-word",
        "A token whose bearer has left puts them back in line.",
        &[edit(
            "queue/poll",
            "  if has_ended(LEFT, user, issued_at) then return STATE.left, position, -1, 0 end\n",
            "  if has_ended(LEFT, user, issued_at) then\n    redis.call('ZADD', WAITING, position, user)\n    return STATE.waiting, position, -1, 0\n  end\n",
        )],
    ),
    hook("presence-not-noted", "Gateways do not note who is there.", Hook::Drop("queue/present")),
    hook("nothing-is-retold", "Gateways do not retell what they answered.", Hook::Drop("queue/retell")),
    hook("forgetful-record", "The record forgets one write in three.", Hook::ForgetfulRecord),
    hook("open-record", "The record lets every gateway claim every epoch.", Hook::OpenRecord),
];

/// The mutant of this name.
pub fn by_name(name: &str) -> Option<&'static Mutant> {
    MUTANTS.iter().find(|mutant| mutant.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripts::Scripts;

    #[test]
    fn every_mutant_changes_what_it_says() {
        for mutant in MUTANTS {
            if let Err(error) = Scripts::with(mutant.edits) {
                panic!("{}: {error}", mutant.name);
            }
        }
    }
}
