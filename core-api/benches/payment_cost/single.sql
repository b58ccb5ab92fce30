\set i :i + 1
\set n :client_id * $PER_CLIENT + :i - 1
WITH r AS MATERIALIZED (
    SELECT id, user_id, seat_id, status, amount, payment_deadline FROM reservations
    WHERE id = ('$PREFIX-0000-7000-8000-' || lpad(:n::text, 12, '0'))::uuid
      AND user_id = ('01900000-0000-7000-8000-' || lpad(:n::text, 12, '0'))::uuid FOR UPDATE
), u AS MATERIALIZED (
    SELECT id, balance FROM users WHERE id = (SELECT user_id FROM r) FOR NO KEY UPDATE
), paid AS MATERIALIZED (
    SELECT r.*, u.balance - r.amount AS rest, at.now, gen_random_uuid() AS payment_id, gen_random_uuid() AS transfer_id
    FROM r, u, LATERAL (SELECT now_utc() AS now WHERE u.id IS NOT NULL) AS at
    WHERE r.status = 'pending' AND r.payment_deadline > at.now AND u.balance >= r.amount
), debited AS (
    UPDATE users SET balance = paid.rest FROM paid WHERE users.id = paid.user_id
), entries AS (
    INSERT INTO ledger_entries (transfer_id, account, user_id, amount, kind, reservation_id)
    SELECT transfer_id, account, CASE account WHEN 'user' THEN user_id END, sign * amount, 'payment', id
    FROM paid, (VALUES ('user', -1), ('sales', 1)) AS side (account, sign) WHERE amount > 0
), payments_made AS (
    INSERT INTO payments (id, reservation_id, user_id, amount, payment_status, payment_method)
    SELECT payment_id, id, user_id, amount, 'success', 'balance' FROM paid
), completed AS (
    UPDATE reservations r SET status = 'completed', completed_at = paid.now FROM paid WHERE r.id = paid.id
), sold AS (
    UPDATE seats s SET status = 'reserved_final' FROM paid WHERE s.id = paid.seat_id AND s.status = 'reserved_temp'
)
SELECT count(*) FROM paid;
