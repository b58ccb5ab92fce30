INSERT INTO concerts (id, name, venue, concert_date)
VALUES ('$PREFIX-0000-7000-8000-000000000000', 'c', 'h', now_utc()::date + 30);
INSERT INTO seats (id, concert_id, section, seat_number, price, status)
SELECT ('$PREFIX-0000-7000-8001-' || lpad(n::text, 12, '0'))::uuid, '$PREFIX-0000-7000-8000-000000000000',
       (n / 50)::text, n % 50 + 1, 10, 'reserved_temp'
FROM generate_series(0, $PAYMENTS - 1) n;
INSERT INTO reservations (id, user_id, concert_id, seat_id, amount, payment_deadline, hold_fence)
SELECT ('$PREFIX-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
       ('01900000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, '$PREFIX-0000-7000-8000-000000000000',
       ('$PREFIX-0000-7000-8001-' || lpad(n::text, 12, '0'))::uuid, 10, now_utc() + interval '1 hour', 1
FROM generate_series(0, $PAYMENTS - 1) n;
