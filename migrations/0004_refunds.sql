-- Paid reservations that are given back.

ALTER TABLE payments
    ADD COLUMN refunded_at TIMESTAMP,
    ADD CONSTRAINT payments_refunded_at_check CHECK (refunded_at IS NULL OR payment_status = 'success');
COMMENT ON COLUMN payments.refunded_at IS 'Added: when the money went back to the user. NULL: it did not.';

-- The last guard behind the reservation's row lock.
CREATE UNIQUE INDEX ledger_entries_refund_reservation_id_key ON ledger_entries (reservation_id)
    WHERE kind = 'refund' AND account = 'user';
COMMENT ON INDEX ledger_entries_refund_reservation_id_key IS 'A reservation is refunded at most once.';
