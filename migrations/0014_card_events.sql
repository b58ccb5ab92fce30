-- Events of payments by card say what GET /payment/{id} says: a payment is told as made once the provider has taken the
-- money, not when it was set aside, and one that came to nothing is told as well.

CREATE OR REPLACE FUNCTION payments_tell_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM webhooks WHERE paused_at IS NULL) THEN
        INSERT INTO outbox (type, order_key, data, created_at)
        SELECT change.type, p.reservation_id, payment_json(p), at
        FROM now_utc() AS at, after_rows AS p JOIN before_rows AS o ON o.id = p.id
        CROSS JOIN LATERAL (SELECT CASE
            -- What goes through a provider is told by provider_payments_tell_change.
            WHEN p.payment_status = 'success' AND o.payment_status <> 'success' AND p.provider_payment_id IS NULL
                THEN 'payment.succeeded'
            WHEN p.payment_status = 'failed' AND o.payment_status <> 'failed' THEN 'payment.failed'
            WHEN p.refunded_at IS NOT NULL AND o.refunded_at IS NULL THEN 'payment.refunded'
        END AS type) AS change
        WHERE change.type IS NOT NULL ORDER BY p.id;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION provider_payments_tell_change() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM webhooks WHERE paused_at IS NULL) THEN
        INSERT INTO outbox (type, order_key, data, created_at)
        SELECT 'payment.succeeded', p.reservation_id, payment_json(p), at
        FROM now_utc() AS at, after_rows AS a JOIN before_rows AS o ON o.id = a.id AND o.state <> a.state
        JOIN payments p ON p.provider_payment_id = a.id AND p.payment_status = 'success'
        WHERE a.state = 'captured' ORDER BY p.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER provider_payments_tell_change AFTER UPDATE ON provider_payments
    REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION provider_payments_tell_change();
