//! What both services' HTTP edges share: extractors, the request id, problem bodies, endpoints, the server itself.

mod cookies;
mod endpoint;
mod extract;
mod given;
pub mod health;
mod in_flight;
mod layer;
mod measure;
mod page;
mod request_id;
mod serve;
mod session;
mod unread;

pub use cookies::{PUBLIC_URL, QUEUE_TOKEN_HEADER, SetCookie, cookie, queue_token, refresh_token, session_token};
pub use endpoint::{Endpoint, endpoint, router};
pub use extract::{BODY_TIMEOUT, Json, JsonBytes, PathId, Query};
pub use given::given;
pub use in_flight::{InFlight, Slot, limit_in_flight};
pub use layer::{MAX_HEADERS, ToldOtherwise, UpstreamAnswer, around, finish};
pub use page::{CursorPage, CursorQuery, RowCursor, limit as page_limit, one_more};
pub use request_id::{REQUEST_ID_HEADER, RequestId};
pub use serve::{App, ServeLimits, listen, serve};
pub use session::{Administrator, SignedIn, Staff};
