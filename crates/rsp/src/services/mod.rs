//! `rsp serve NAME` and `rsp client NAME`: the application services of RSPLIB, as elements and as users.
//!
//! `element.rs` runs any service, `user.rs` any application; the other rooms hold what one service needs of its world.

mod calcapp;
pub mod cli;
mod element;
mod fractal;
mod plain;
mod scripting;
mod user;

use crate::exit::{Code, Failure};
use cli::{ClientCommand, ServeCommand};
use rserpool::{PoolHandle, Time};
use rserpool_compute::application::plain::Kind;
use rserpool_net::Handle;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `rsp serve NAME`: until it is interrupted or refused.
pub fn serve(command: &ServeCommand) -> Result<(), Failure> {
    match command {
        ServeCommand::Echo(args) => plain::serve(args, Kind::Echo),
        ServeCommand::Discard(args) => plain::serve(args, Kind::Discard),
        ServeCommand::Daytime(args) => plain::serve(args, Kind::Daytime),
        ServeCommand::Chargen(args) => plain::serve_chargen(args),
        ServeCommand::Pingpong(args) => plain::serve_pingpong(args),
        ServeCommand::Calcapp(args) => calcapp::serve(args),
        ServeCommand::Fractal(args) => fractal::serve(args),
        ServeCommand::Scripting(args) => scripting::serve(args),
    }
}

/// `rsp client NAME`.
pub fn client(command: &ClientCommand) -> Result<Code, Failure> {
    match command {
        ClientCommand::Echo(args) => plain::lines(args, Kind::Echo),
        ClientCommand::Discard(args) => plain::lines(args, Kind::Discard),
        ClientCommand::Daytime(args) => plain::daytime(args),
        ClientCommand::Chargen(args) => plain::chargen(args),
        ClientCommand::Pingpong(args) => plain::pingpong(args),
        ClientCommand::Calcapp(args) => calcapp::client(args),
        ClientCommand::Fractal(args) => fractal::client(args),
        ClientCommand::Scripting(args) => scripting::client(args),
    }
}

/// The way to a node from threads that do its work. It can be cut: a node takes its leave, with all its links, once nobody
/// has a way to it any more, and such a thread may be waiting for something that never comes.
struct Line<N>(Arc<Mutex<Option<Handle<N>>>>);

impl<N> Clone for Line<N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<N: 'static> Line<N> {
    fn new(handle: Handle<N>) -> Self {
        Self(Arc::new(Mutex::new(Some(handle))))
    }

    /// Has something done in the node's thread; false if the node is gone, or the line cut.
    fn post(&self, call: impl FnOnce(&mut N, Time) + Send + 'static) -> bool {
        let handle = self.lock().clone();
        handle.is_some_and(|handle| handle.post_blocking(call).is_ok())
    }

    fn cut(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Handle<N>>> {
        // The value is whole whatever a panicking thread did: it is only taken out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool named, or the service's own.
fn pool(named: Option<PoolHandle>, own: &str) -> PoolHandle {
    named.unwrap_or_else(|| PoolHandle::new(own).expect("the names of the reference have 1 to 32 octets"))
}
