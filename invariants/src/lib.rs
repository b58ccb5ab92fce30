//! What must always hold of seats, money and places, as SQL. Tests, load runs and audits ask from this one list.

/// One thing that must hold.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The point of the design it belongs to: 1 seats, 2 money, 3 order.
    pub point: u8,
    /// Stable name.
    pub name: &'static str,
    /// What holds when it isn't broken.
    pub title: &'static str,
    /// Answers with one row for each of the first violations, as (how many there are in all BIGINT, the violation in
    /// words TEXT); with none where all is well. Only reads.
    pub sql: &'static str,
}

/// All of them. Each holds at every instant that a snapshot can show.
pub const CHECKS: [Check; 16] = [
    Check {
        point: 1,
        name: "seat_sold_once",
        title: "no seat has more than one live reservation",
        sql: "SELECT count(*) OVER (), format('seat %s has %s', seat_id, count(*))
              FROM reservations WHERE status IN ('pending', 'completed')
              GROUP BY seat_id HAVING count(*) > 1 LIMIT 5",
    },
    Check {
        point: 1,
        name: "sold_seat_is_reserved",
        title: "a seat is reserved_final exactly when it has one completed reservation",
        sql: "WITH completed AS (
                SELECT seat_id, count(*) AS n FROM reservations WHERE status = 'completed' GROUP BY seat_id)
              SELECT count(*) OVER (), format('seat %s is %s and has %s', s.id, s.status, coalesce(c.n, 0))
              FROM seats s LEFT JOIN completed c ON c.seat_id = s.id
              WHERE (s.status = 'reserved_final') <> (coalesce(c.n, 0) = 1) LIMIT 5",
    },
    Check {
        point: 1,
        name: "held_seat_is_reserved",
        title: "a seat is reserved_temp exactly when it has one pending reservation",
        sql: "WITH pending AS (
                SELECT seat_id, count(*) AS n FROM reservations WHERE status = 'pending' GROUP BY seat_id)
              SELECT count(*) OVER (), format('seat %s is %s and has %s', s.id, s.status, coalesce(p.n, 0))
              FROM seats s LEFT JOIN pending p ON p.seat_id = s.id
              WHERE (s.status = 'reserved_temp') <> (coalesce(p.n, 0) = 1) LIMIT 5",
    },
    Check {
        point: 1,
        name: "held_back_is_nobodys",
        title: "a seat that is held back has no live reservation",
        sql: "SELECT count(*) OVER (), format('seat %s is held back and has reservation %s, %s', s.id, r.id, r.status)
              FROM seats s JOIN reservations r ON r.seat_id = s.id AND r.status IN ('pending', 'completed')
              WHERE s.status = 'held_back' LIMIT 5",
    },
    Check {
        point: 1,
        name: "completed_is_paid",
        title: "a reservation is completed exactly when one success payment of its user and amount exists that is not refunded",
        sql: "WITH paid AS (
                SELECT reservation_id, count(*) AS n, sum(amount) AS amount, min(user_id::text) AS user_id
                FROM payments WHERE payment_status = 'success' AND refunded_at IS NULL GROUP BY reservation_id)
              SELECT count(*) OVER (), format('reservation %s is %s and has %s payments of %s in all for %s',
                r.id, r.status, coalesce(p.n, 0), coalesce(p.amount, 0), r.amount)
              FROM reservations r LEFT JOIN paid p ON p.reservation_id = r.id
              WHERE (r.status = 'completed') <> (coalesce(p.n, 0) = 1)
                 OR (r.status = 'completed' AND (p.amount <> r.amount OR p.user_id <> r.user_id::text)) LIMIT 5",
    },
    Check {
        point: 1,
        name: "check_in_is_completed",
        title: "each check-in that stands is of a completed reservation",
        sql: "SELECT count(*) OVER (), format('reservation %s is %s and was let in at %s', r.id, r.status, k.checked_in_at)
              FROM check_ins k JOIN reservations r ON r.id = k.reservation_id
              WHERE k.undone_at IS NULL AND r.status <> 'completed' LIMIT 5",
    },
    Check {
        point: 2,
        name: "transfer_is_balanced",
        title: "the entries of each transfer add up to 0",
        sql: "SELECT count(*) OVER (), format('transfer %s adds up to %s', transfer_id, sum(amount))
              FROM ledger_entries GROUP BY transfer_id HAVING sum(amount) <> 0 LIMIT 5",
    },
    Check {
        point: 2,
        name: "balance_is_ledger",
        title: "each balance is the sum of its user's entries",
        sql: "WITH entries AS (
                SELECT user_id, sum(amount) AS total FROM ledger_entries WHERE account = 'user' GROUP BY user_id)
              SELECT count(*) OVER (), format('user %s has %s, entries say %s', u.id, u.balance, coalesce(e.total, 0))
              FROM users u LEFT JOIN entries e ON e.user_id = u.id
              WHERE coalesce(u.balance, 0) <> coalesce(e.total, 0) LIMIT 5",
    },
    Check {
        point: 2,
        name: "balance_not_negative",
        title: "no balance is below zero",
        sql: "SELECT count(*) OVER (), format('user %s has %s', id, balance) FROM users WHERE balance < 0 LIMIT 5",
    },
    Check {
        point: 2,
        name: "money_is_conserved",
        title: "charges − payments + refunds = balances",
        sql: "WITH flows AS (
                SELECT coalesce(sum(amount) FILTER (WHERE kind = 'charge'), 0) AS charges,
                       coalesce(-sum(amount) FILTER (WHERE kind = 'payment'), 0) AS payments,
                       coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunds
                FROM ledger_entries WHERE account = 'user'),
              stock AS (SELECT coalesce(sum(balance), 0) AS balances FROM users)
              SELECT count(*) OVER (), format('%s - %s + %s is not %s', charges, payments, refunds, balances)
              FROM flows, stock WHERE charges - payments + refunds <> balances",
    },
    Check {
        point: 2,
        name: "payment_is_ledger",
        title: "what the ledger took for a reservation, less refunds, is its success payment that is not refunded",
        // From the user's balance, or from the provider: each of them by itself.
        sql: "WITH taken AS (
                SELECT reservation_id, account, -sum(amount) AS amount FROM ledger_entries
                WHERE account IN ('user', 'provider') AND kind IN ('payment', 'refund')
                GROUP BY reservation_id, account),
              paid AS (
                SELECT reservation_id, CASE WHEN provider_payment_id IS NULL THEN 'user' ELSE 'provider' END AS account,
                       sum(amount) AS amount
                FROM payments WHERE payment_status = 'success' AND refunded_at IS NULL GROUP BY 1, 2)
              SELECT count(*) OVER (), format('reservation %s: ledger of %s %s, payment %s', reservation_id, account,
                coalesce(t.amount, 0), coalesce(p.amount, 0))
              FROM taken t FULL JOIN paid p USING (reservation_id, account)
              WHERE coalesce(t.amount, 0) <> coalesce(p.amount, 0) LIMIT 5",
    },
    Check {
        point: 2,
        name: "attempt_is_its_payments",
        title: "an attempt at a provider has payments of its user that add up to it and are as far as it is",
        sql: "WITH told AS (
                SELECT a.id, a.state, a.amount, a.user_id, CASE WHEN a.state = 'created' THEN 'pending'
                         WHEN a.state IN ('authorised', 'captured') THEN 'success' ELSE 'failed' END AS payment_status
                FROM provider_payments a)
              SELECT count(*) OVER (), format('attempt %s of %s is %s and has payments of %s', t.id, t.amount, t.state,
                coalesce(sum(p.amount), 0))
              FROM told t LEFT JOIN payments p ON p.provider_payment_id = t.id
                AND p.payment_status = t.payment_status AND p.user_id = t.user_id
              GROUP BY t.id, t.amount, t.state HAVING coalesce(sum(p.amount), 0) <> t.amount LIMIT 5",
    },
    Check {
        point: 2,
        name: "refund_is_due_or_done",
        title: "each payment that was taken by a provider and given back is a refund that is due or done, and nothing else is",
        sql: "WITH refunded AS (
                SELECT id, provider_payment_id, amount FROM payments
                WHERE provider_payment_id IS NOT NULL AND refunded_at IS NOT NULL AND amount > 0)
              SELECT count(*) OVER (), format('payment %s: given back %s, refunds %s', coalesce(p.id, r.payment_id),
                coalesce(p.amount, 0), coalesce(r.amount, 0))
              FROM refunded p FULL JOIN provider_refunds r
                ON r.payment_id = p.id AND r.provider_payment_id = p.provider_payment_id
              WHERE coalesce(p.amount, 0) <> coalesce(r.amount, 0) LIMIT 5",
    },
    Check {
        point: 3,
        name: "position_is_unique",
        title: "no two people of a concert were given the same position",
        sql: "SELECT count(*) OVER (), format('concert %s gave %s to %s people', concert_id, queue_position, count(*))
              FROM queue GROUP BY concert_id, queue_position HAVING count(*) > 1 LIMIT 5",
    },
    Check {
        point: 1,
        name: "pending_ends_in_time",
        title: "no reservation is pending more than 30 seconds past its deadline, or past that of a payment under way",
        // Sweepers come twice a second, and after an outage within ten seconds of its end.
        sql: "SELECT count(*) OVER (), format('reservation %s was to be paid until %s', id, payment_deadline)
              FROM reservations
              WHERE status = 'pending'
                AND greatest(payment_deadline, paying_until) < (SELECT now_utc()) - interval '30 seconds' LIMIT 5",
    },
    Check {
        point: 2,
        name: "key_has_one_effect",
        title: "each payment or reservation that an idempotency key's answer names is its user's, and named by no other key",
        // The names of answers of old keys are purged with them; a body is always ours, so it is always JSON. A check-in
        // names a reservation that is another's.
        sql: "WITH answers AS (
                SELECT user_id, key, convert_from(response_body, 'UTF8')::json AS body FROM idempotency_keys
                WHERE state = 'done' AND response_status IN (200, 202)),
              effects AS (
                SELECT user_id, key, CASE WHEN body ->> 'paymentId' IS NULL THEN 'reservation' ELSE 'payment' END AS kind,
                       coalesce(body ->> 'paymentId', body ->> 'reservationId')::uuid AS id
                FROM answers WHERE coalesce(body ->> 'paymentId', body ->> 'reservationId') IS NOT NULL
                  AND body ->> 'checkedInAt' IS NULL),
              named AS (SELECT *, count(*) OVER (PARTITION BY kind, id) AS keys FROM effects)
              SELECT count(*) OVER (), format('key %s of %s names %s %s (keys: %s)', key, user_id, kind, id, keys)
              FROM named n WHERE keys > 1
                 OR (kind = 'payment' AND NOT EXISTS (
                     SELECT FROM payments p WHERE p.id = n.id AND p.user_id = n.user_id))
                 OR (kind = 'reservation' AND NOT EXISTS (
                     SELECT FROM reservations r WHERE r.id = n.id AND r.user_id = n.user_id)) LIMIT 5",
    },
];

/// The names of the checks, in their order.
pub const NAMES: [&str; CHECKS.len()] = {
    let mut names = [""; CHECKS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = CHECKS[index].name;
        index += 1;
    }
    names
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CHECKS.len());
    }
}
