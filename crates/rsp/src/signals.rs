//! Ctrl-C and its kin.

use crate::exit::{Code, Failure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls `ask` in a thread of its own for each SIGINT, SIGTERM or SIGHUP. A third one ends the process at once: whoever
/// insists shall not depend on our manners.
pub fn on_interrupt(mut ask: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    let cannot =
        |cause: std::io::Error| Failure::new(Code::Failed, format!("cannot listen to signals: {cause}"));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot)?;
    let listen = move || {
        for (count, _) in signals.forever().enumerate() {
            if count >= 2 {
                std::process::exit(Code::Interrupted as i32);
            }
            ask();
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).map_err(cannot)?;
    Ok(())
}
