//! What `up` ends with.

use super::plan::Plan;

/// The address, the logins and the lines to paste.
pub(super) fn text(plan: &Plan) -> String {
    let url = plan.url();
    let logs = plan.logs();
    format!(
        "
Onsale is running at {url} (operators: {url}/admin/)

  Demo logins, all with the password onsale-demo:
    alice@example.com   bob@example.com   staff@example.com (at the door)   admin@example.com (admin)

  Sell a ticket (paste all lines):

{}

  Logs: {}      Stop: Ctrl-C
",
        sell_a_ticket(&url),
        logs.strip_prefix(stack::project_root()).unwrap_or(&logs).display()
    )
}

/// Lines for any POSIX shell with curl: sign up, put money in, join the queue of the first open
/// concert, take a free seat and pay for it.
///
/// A new visitor each time: an account of the demo data would reach its limit of seats after a few
/// pastes, and its data outlives the stack.
fn sell_a_ticket(url: &str) -> String {
    format!(
        r#"U={url} J="Content-Type: application/json" JAR=$(mktemp) FAN=fan-$(date +%s)-$$@example.com
curl -sS -H "$J" -d "{{\"username\":\"fan\",\"email\":\"$FAN\",\"password\":\"onsale-demo\"}}" $U/auth/signup; echo
curl -sS -c $JAR -H "$J" -d "{{\"userId\":\"$FAN\",\"password\":\"onsale-demo\"}}" $U/auth/login; echo
curl -sS -b $JAR -H "$J" -d '{{"amount":500000}}' $U/balance; echo
CONCERT=$(curl -sS "$U/concerts?available=true" | grep -o '"id":"[^"]*"[^}}]*"status":"on_sale"' | head -n 1 | cut -d '"' -f 4)
curl -sS -b $JAR -c $JAR -H "$J" -d "{{\"concertId\":\"$CONCERT\"}}" $U/queue/token; echo
SEAT=$(curl -sS $U/concerts/$CONCERT/seats | grep -o '"seatId":"[^"]*"[^}}]*"status":"available"' | head -n 1 | cut -d '"' -f 4)
RESERVED=$(curl -sS -b $JAR -H "$J" -d "{{\"concertId\":\"$CONCERT\",\"seatId\":\"$SEAT\"}}" $U/reservation); echo "$RESERVED"
RESERVATION=$(echo "$RESERVED" | grep -o '"reservationId":"[^"]*"' | head -n 1 | cut -d '"' -f 4)
curl -sS -b $JAR -H "$J" -d "{{\"reservationId\":\"$RESERVATION\"}}" $U/payment; echo"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn readme_shows_the_same_lines() {
        let readme = std::fs::read_to_string(stack::project_root().join("README.md")).unwrap();
        let lines = sell_a_ticket("http://localhost:8080");
        assert!(readme.contains(&format!("```sh\n{lines}\n```")), "README.md should have:\n{lines}");
    }

    use stack::onsale::{Onsale, OnsaleOptions};
    use stack::redis::{Redis, RedisOptions};

    #[test]
    fn the_pasted_lines_sell_a_ticket() {
        // The demo's concerts have fixed ids, so their rooms must not be shared with other tests.
        let redis = Redis::start(&RedisOptions::default()).unwrap();
        let onsale =
            Onsale::start(&OnsaleOptions { redis_url: Some(redis.url()), ..OnsaleOptions::default() }).unwrap();
        // As often as somebody may try: more than one visitor's limit of seats.
        for _ in 0..6 {
            let output = Command::new("sh").args(["-c", &sell_a_ticket(&onsale.url())]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let paid = said.trim_end().lines().last().unwrap_or_default();
            assert!(paid.contains(r#""status":"success""#), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
