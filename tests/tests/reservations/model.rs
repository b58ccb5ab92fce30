//! What seats, money and the waitlist of one concert should be, kept in memory: small enough to be right by reading.

/// A person, by number.
pub(crate) type User = usize;
/// A seat, by number.
pub(crate) type Seat = usize;

/// How many people and seats there are.
pub(crate) const USERS: usize = 3;
pub(crate) const SEATS: usize = 4;
/// What each seat costs.
pub(crate) const PRICE: i64 = 10;
/// How many live seats a person may have.
pub(crate) const LIMIT: usize = 2;
/// The times to pay, in seconds. None is near a multiple of [`WAIT_SECONDS`], so that no deadline is ever about now.
pub(crate) const HOLD_SECONDS: i64 = 900;
pub(crate) const EXTEND_SECONDS: i64 = 1_000;
pub(crate) const OFFER_SECONDS: i64 = 1_100;
/// By how much the clock goes forward at a time.
pub(crate) const WAIT_SECONDS: i64 = 400;

/// How far a reservation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Completed,
    Canceled,
}

impl Status {
    /// As the API has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Canceled => "canceled",
        }
    }
}

/// One reservation.
#[derive(Debug, Clone)]
pub(crate) struct Reservation {
    pub(crate) user: User,
    pub(crate) seat: Seat,
    pub(crate) status: Status,
    deadline: i64,
    extended: bool,
    /// Whether it came of the waitlist.
    offer: bool,
}

/// What a request is to be answered: a status, and one of these codes where it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    pub(crate) errors: Vec<&'static str>,
}

fn done() -> Expected {
    Expected { status: 200, errors: Vec::new() }
}

fn refused(status: u16, error: &'static str) -> Expected {
    Expected { status, errors: vec![error] }
}

/// The state.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// The database's time, in seconds from its own.
    pub(crate) now: i64,
    pub(crate) balances: [i64; USERS],
    pub(crate) reservations: Vec<Reservation>,
    /// Who waits for a seat, in order.
    pub(crate) waiting: Vec<User>,
}

impl Model {
    pub(crate) fn new(now: i64) -> Self {
        Self { now, balances: [0; USERS], reservations: Vec::new(), waiting: Vec::new() }
    }

    fn live(&self) -> impl Iterator<Item = &Reservation> {
        self.reservations.iter().filter(|one| one.status != Status::Canceled)
    }

    fn live_of(&self, user: User) -> usize {
        self.live().filter(|one| one.user == user).count()
    }

    /// How a seat reads.
    pub(crate) fn seat(&self, seat: Seat) -> &'static str {
        match self.live().find(|one| one.seat == seat).map(|one| one.status) {
            Some(Status::Completed) => "sold",
            Some(_) => "reserved",
            None => "available",
        }
    }

    /// Whether a person could hold these seats now; what they would be answered.
    pub(crate) fn may_hold(&self, user: User, seats: &[Seat]) -> Expected {
        let taken = seats.iter().any(|seat| self.seat(*seat) != "available");
        let over = self.live_of(user) + seats.len() > LIMIT;
        match (taken, over) {
            (false, false) => done(),
            (true, false) => refused(409, "seat_taken"),
            (false, true) => refused(409, "seat_limit"),
            // Redis or PostgreSQL may be the first to say so.
            (true, true) => Expected { status: 409, errors: vec!["seat_taken", "seat_limit"] },
        }
    }

    /// Somebody holds a seat now.
    pub(crate) fn hold(&mut self, user: User, seat: Seat) {
        let deadline = self.now + HOLD_SECONDS;
        self.reservations.push(Reservation {
            user,
            seat,
            status: Status::Pending,
            deadline,
            extended: false,
            offer: false,
        });
    }

    pub(crate) fn extend(&mut self, user: User, index: usize) -> Expected {
        let one = &mut self.reservations[index];
        match one.status {
            _ if one.user != user => refused(404, "not_found"),
            Status::Completed => refused(409, "already_paid"),
            Status::Canceled => refused(410, "reservation_expired"),
            Status::Pending if one.extended => refused(409, "already_extended"),
            Status::Pending => {
                one.deadline += EXTEND_SECONDS;
                one.extended = true;
                done()
            }
        }
    }

    pub(crate) fn may_pay(&self, user: User, index: usize) -> Expected {
        let one = &self.reservations[index];
        match one.status {
            _ if one.user != user => refused(404, "not_found"),
            Status::Completed => refused(409, "already_paid"),
            Status::Canceled => refused(410, "reservation_expired"),
            Status::Pending if self.balances[user] < PRICE => refused(400, "insufficient_balance"),
            Status::Pending => done(),
        }
    }

    /// It is paid for now.
    pub(crate) fn pay(&mut self, index: usize) {
        self.reservations[index].status = Status::Completed;
        self.balances[self.reservations[index].user] -= PRICE;
    }

    /// Gives one back; the seats that come free.
    pub(crate) fn release(&mut self, user: User, index: usize) -> (Expected, Vec<Seat>) {
        let one = &mut self.reservations[index];
        if one.user != user {
            return (refused(404, "not_found"), Vec::new());
        }
        let was = std::mem::replace(&mut one.status, Status::Canceled);
        if was == Status::Completed {
            self.balances[user] += PRICE;
        }
        (done(), if was == Status::Canceled { Vec::new() } else { vec![one.seat] })
    }

    fn pending_offer(&self, user: User) -> Option<usize> {
        self.reservations.iter().position(|one| one.user == user && one.offer && one.status == Status::Pending)
    }

    pub(crate) fn join_waitlist(&mut self, user: User) -> Expected {
        if self.pending_offer(user).is_none() && !self.waiting.contains(&user) {
            self.waiting.push(user);
        }
        done()
    }

    /// Leaves the waitlist, and declines an offer; the seats that come free.
    pub(crate) fn leave_waitlist(&mut self, user: User) -> (Expected, Vec<Seat>) {
        let offer = self.pending_offer(user);
        let waited = self.waiting.contains(&user);
        self.waiting.retain(|other| *other != user);
        match offer {
            Some(index) => {
                self.reservations[index].status = Status::Canceled;
                (done(), vec![self.reservations[index].seat])
            }
            None if waited => (done(), Vec::new()),
            None => (refused(404, "not_found"), Vec::new()),
        }
    }

    /// Time goes by; the seats that come free.
    pub(crate) fn wait(&mut self) -> Vec<Seat> {
        self.now += WAIT_SECONDS;
        let now = self.now;
        let due = self.reservations.iter_mut().filter(|one| one.status == Status::Pending && one.deadline <= now);
        due.map(|one| {
            one.status = Status::Canceled;
            one.seat
        })
        .collect()
    }

    /// Who is offered one of so many seats that have come free, in their order; they wait no more.
    pub(crate) fn offered(&mut self, seats: usize) -> Vec<User> {
        let mut offered = Vec::new();
        for user in self.waiting.clone() {
            if offered.len() < seats && self.live_of(user) < LIMIT {
                offered.push(user);
            }
        }
        self.waiting.retain(|user| !offered.contains(user));
        offered
    }

    /// One of them is offered this seat.
    pub(crate) fn offer(&mut self, user: User, seat: Seat) {
        let deadline = self.now + OFFER_SECONDS;
        self.reservations.push(Reservation {
            user,
            seat,
            status: Status::Pending,
            deadline,
            extended: false,
            offer: true,
        });
    }
}
