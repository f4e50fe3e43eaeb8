//! Output that nobody reads any more.

use std::panic;

/// Exit code of a program that a closed pipe has ended, as a shell says it.
const EXIT_CLOSED_PIPE: i32 = 128 + 13;

/// Ends the program quietly when it prints into a closed pipe, as in `shoal models list | head -1`: Rust's printing
/// panics there. For programs that print and leave; what goes on running must not care ([`say`](crate::say)).
pub fn end_with_reader() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if said.starts_with("failed") && ["Broken pipe", "BrokenPipe"].iter().any(|why| said.contains(why)) {
            std::process::exit(EXIT_CLOSED_PIPE);
        }
        usual(panic);
    }));
}

/// Prints a line to standard output or, after `err:`, to standard error; that nobody reads it is no reason to fail.
#[macro_export]
macro_rules! say {
    (err: $($line:tt)*) => { $crate::say!(@ stderr $($line)*) };
    (@ $stream:ident $($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::$stream(), $($line)*);
    }};
    ($($line:tt)*) => { $crate::say!(@ stdout $($line)*) };
}
