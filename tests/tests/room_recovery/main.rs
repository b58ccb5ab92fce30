//! The waiting room keeps its promises when Redis loses state, when a replica takes over and when a gateway is cut off: each
//! position is given once, people keep theirs, and an ended position stays ended. All processes are real.

mod claims;
mod cut_off;
mod ended_positions;
mod rolled_back;
mod site;
mod wiped;
