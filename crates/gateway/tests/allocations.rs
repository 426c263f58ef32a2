//! What a request takes from the allocator: counted for the whole process, in which client and
//! instance take nothing.

mod common;

use common::Gateway;
use model::service::Protocol;
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands everything on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps to the same promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Its context does not ask to be recorded: a span would take memory, in a few requests of a second.
const REQUEST: &[u8] = b"GET /some/path?query HTTP/1.1\r\nHost: bench.example\r\nAccept: */*\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";
const WARM_UP: u64 = 200;
const REQUESTS: u64 = 2_000;

/// Answers each read of one connection with [`ANSWER`].
fn instance() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the gateway connects");
        let mut room = [0; 4096];
        while let Ok(1..) = stream.read(&mut room) {
            if stream.write_all(ANSWER).is_err() {
                return;
            }
        }
    });
    address
}

fn ask(stream: &mut TcpStream, times: u64) {
    let mut room = [0; 4096];
    for _ in 0..times {
        stream.write_all(REQUEST).expect("the gateway reads");
        let count = stream.read(&mut room).expect("the gateway answers");
        assert!(room[..count].starts_with(b"HTTP/1.1 200 OK\r\n") && room[..count].ends_with(b"hello"));
    }
}

#[test]
fn requests_that_follow_each_other_take_no_memory_of_their_own() {
    let mut gateway = Gateway::with(|options| {
        options.threads = Some(1);
        options.access_log = Some(options.table_file.with_file_name("access.log"));
    });
    let address = gateway.serve(&[(Protocol::Http, true, &[instance()])])[0];
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_nodelay(true).expect("it is an option of TCP");
    ask(&mut stream, WARM_UP);
    let before = COUNT.load(Relaxed);
    ask(&mut stream, REQUESTS);
    let taken = COUNT.load(Relaxed) - before;
    // Batches of the access log, and what the process does ten times a second.
    assert!(taken <= REQUESTS / 10, "{taken} for {REQUESTS} requests");
}
