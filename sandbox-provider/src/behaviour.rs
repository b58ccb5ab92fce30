//! What a card token asks for.

use std::time::Duration;

/// The longest delay that can be asked for.
const MAX_DELAY_MS: u64 = 60_000;

/// How a payment behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// `tok_ok`: all goes well.
    Accept,
    /// `tok_declined`, and whatever is none of ours: the card is refused.
    Decline,
    /// `tok_delay_3000`: the decision takes that many ms, and so does the answer.
    Delay(Duration),
    /// `tok_drop_request`: the call to authorise is lost; nothing is done and nothing answered.
    DropRequest,
    /// `tok_drop_response`: authorising is done and never answered.
    DropResponse,
    /// `tok_drop_capture_response`: capturing is done and never answered the first time.
    DropCaptureResponse,
    /// `tok_capture_fails`: authorised, and then the money can't be taken.
    CaptureFails,
    /// `tok_drop_webhook`: no message is sent.
    DropWebhook,
    /// `tok_repeat_webhook`: each message is sent three times.
    RepeatWebhook,
    /// `tok_reorder_webhook`: the message that it is authorised is sent only after the next one.
    ReorderWebhook,
    /// `tok_refund_fails_once`: the first try to give money back is answered 503.
    RefundFailsOnce,
}

impl Behaviour {
    /// What a token asks for.
    pub fn of(token: &str) -> Self {
        if let Some(ms) = token.strip_prefix("tok_delay_").and_then(|ms| ms.parse::<u64>().ok()) {
            return Self::Delay(Duration::from_millis(ms.min(MAX_DELAY_MS)));
        }
        match token {
            "tok_ok" => Self::Accept,
            "tok_drop_request" => Self::DropRequest,
            "tok_drop_response" => Self::DropResponse,
            "tok_drop_capture_response" => Self::DropCaptureResponse,
            "tok_capture_fails" => Self::CaptureFails,
            "tok_drop_webhook" => Self::DropWebhook,
            "tok_repeat_webhook" => Self::RepeatWebhook,
            "tok_reorder_webhook" => Self::ReorderWebhook,
            "tok_refund_fails_once" => Self::RefundFailsOnce,
            _ => Self::Decline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_of_ours_is_declined_and_delays_have_a_limit() {
        assert_eq!(Behaviour::of("tok_ok"), Behaviour::Accept);
        assert_eq!(Behaviour::of("tok_delay_3000"), Behaviour::Delay(Duration::from_secs(3)));
        assert_eq!(Behaviour::of("tok_delay_99999999"), Behaviour::Delay(Duration::from_mins(1)));
        for declined in ["tok_declined", "tok_delay_", "tok_delay_x", "", "4242424242424242"] {
            assert_eq!(Behaviour::of(declined), Behaviour::Decline, "{declined}");
        }
    }
}
