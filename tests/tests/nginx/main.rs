//! The project's nginx configuration, in a real nginx before stub upstreams.

mod caching;
mod edge;
mod passing;
mod problems;
mod refusal_pages;
mod refusing;
