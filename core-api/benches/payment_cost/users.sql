INSERT INTO users (id, username, email, balance)
SELECT ('01900000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'u', n || '@bench.example', 1000000
FROM generate_series(0, $PAYMENTS - 1) n;
WITH transfers AS MATERIALIZED (SELECT id, gen_random_uuid() AS transfer FROM users)
INSERT INTO ledger_entries (transfer_id, account, user_id, amount, kind)
SELECT transfer, account, CASE account WHEN 'user' THEN id END, sign * 1000000, 'charge'
FROM transfers, (VALUES ('cash', -1), ('user', 1)) AS side (account, sign);
