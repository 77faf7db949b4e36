//! A virtual file system for SQLite that writes down what it does to files, and does it.
//!
//! It is the system's own one with four methods replaced: each notes what it is called with and calls the
//! one that was there. Everything else, locks and shared memory among it, is untouched.

#![expect(
    unsafe_code,
    reason = "SQLite's file systems are tables of functions of C"
)]

use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_void},
    path::PathBuf,
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use rusqlite::ffi;

/// Something that was done to a file.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Write {
        file: PathBuf,
        offset: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        file: PathBuf,
        size: u64,
    },
    /// All of the file that was written before is on the disk.
    Sync {
        file: PathBuf,
    },
    /// Something that the test wants to find again: it was told so by then.
    Mark(usize),
}

#[derive(Default)]
struct Recording {
    /// Nothing, unless a test records.
    events: Option<Vec<Event>>,
    /// The open files, by their address, and the methods that they had.
    files: HashMap<usize, (PathBuf, Methods)>,
}

#[derive(Clone, Copy)]
struct Methods(*const ffi::sqlite3_io_methods);

// SAFETY: such a table is constant and lives for as long as the process.
unsafe impl Send for Methods {}

static RECORDING: Mutex<Option<Recording>> = Mutex::new(None);
/// The one that was the default.
static BASE: Mutex<usize> = Mutex::new(0);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with<T>(work: impl FnOnce(&mut Recording) -> T) -> T {
    work(lock(&RECORDING).get_or_insert_default())
}

/// Makes this the file system of every connection that is opened from now on, and begins to write down.
pub(crate) fn record() {
    static ONCE: Once = Once::new();
    ONCE.call_once(register);
    with(|recording| recording.events = Some(Vec::new()));
}

/// Notes that something was told.
pub(crate) fn mark(number: usize) {
    note(|| Event::Mark(number));
}

/// What was done since [`record`]; nothing more is written down.
pub(crate) fn recorded() -> Vec<Event> {
    with(|recording| recording.events.take().unwrap_or_default())
}

fn note(event: impl FnOnce() -> Event) {
    with(|recording| {
        if let Some(events) = &mut recording.events {
            events.push(event());
        }
    });
}

fn register() {
    // SAFETY: SQLite initializes itself here; the default file system is never removed.
    let base = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
    assert!(!base.is_null(), "there is a file system");
    *lock(&BASE) = base as usize;
    // SAFETY: it is not null, and nobody changes it.
    let mut own: ffi::sqlite3_vfs = unsafe { *base };
    own.zName = c"recording".as_ptr();
    own.xOpen = Some(open);
    own.pNext = std::ptr::null_mut();
    // Its other methods do not look at the table that they are called through.
    let own = Box::leak(Box::new(own));
    // SAFETY: it is never freed.
    let code = unsafe { ffi::sqlite3_vfs_register(own, 1) };
    assert_eq!(code, ffi::SQLITE_OK, "a file system can be registered");
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let base = *lock(&BASE) as *mut ffi::sqlite3_vfs;
    // SAFETY: the arguments are SQLite's own, and `file` has room for what `base` puts there, since
    // `szOsFile` is that of `base`.
    unsafe {
        let Some(base_open) = (*base).xOpen else {
            return ffi::SQLITE_CANTOPEN;
        };
        let code = base_open(base, name, file, flags, out_flags);
        let methods = (*file).pMethods;
        if code != ffi::SQLITE_OK || methods.is_null() || name.is_null() {
            return code;
        }
        let path = PathBuf::from(CStr::from_ptr(name).to_string_lossy().into_owned());
        let mut own: ffi::sqlite3_io_methods = *methods;
        own.iVersion = own.iVersion.min(2);
        own.xWrite = Some(write);
        own.xTruncate = Some(truncate);
        own.xSync = Some(sync);
        own.xClose = Some(close);
        with(|recording| {
            let known = (path, Methods(methods));
            recording.files.insert(file as usize, known);
        });
        (*file).pMethods = Box::leak(Box::new(own));
        code
    }
}

fn known(file: *mut ffi::sqlite3_file) -> (PathBuf, *const ffi::sqlite3_io_methods) {
    with(|recording| {
        let (path, methods) = &recording.files[&(file as usize)];
        (path.clone(), methods.0)
    })
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    let (path, methods) = known(file);
    // SAFETY: the arguments are SQLite's own: `length` bytes at `data`.
    unsafe {
        let code = (*methods)
            .xWrite
            .map_or(ffi::SQLITE_IOERR, |base| base(file, data, length, offset));
        if code == ffi::SQLITE_OK {
            let length = usize::try_from(length).unwrap_or_default();
            let bytes = std::slice::from_raw_parts(data.cast::<u8>(), length);
            note(|| Event::Write {
                file: path,
                offset: offset.unsigned_abs(),
                bytes: bytes.to_vec(),
            });
        }
        code
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    let (path, methods) = known(file);
    // SAFETY: as above.
    let code = unsafe {
        (*methods)
            .xTruncate
            .map_or(ffi::SQLITE_IOERR, |base| base(file, size))
    };
    if code == ffi::SQLITE_OK {
        note(|| Event::Truncate {
            file: path,
            size: size.unsigned_abs(),
        });
    }
    code
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let (path, methods) = known(file);
    // SAFETY: as above.
    let code = unsafe {
        (*methods)
            .xSync
            .map_or(ffi::SQLITE_IOERR, |base| base(file, flags))
    };
    if code == ffi::SQLITE_OK {
        note(|| Event::Sync { file: path });
    }
    code
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let (_, methods) = known(file);
    with(|recording| recording.files.remove(&(file as usize)));
    // SAFETY: as above; the file is not used after this.
    unsafe {
        (*methods)
            .xClose
            .map_or(ffi::SQLITE_IOERR, |base| base(file))
    }
}
