//! The load generator: closed and open loops against any HTTP predict service.
