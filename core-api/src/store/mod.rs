//! Where things are kept: `PostgreSQL` decides about seats and money, Redis makes losing cheap.

pub mod postgres;
pub mod provider;
pub mod redis;
