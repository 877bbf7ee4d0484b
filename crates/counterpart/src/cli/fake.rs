//! A fake server.
