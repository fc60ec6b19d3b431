//! What people and programs get to see. Each format is a small function over the same data; the only room that
//! knows miette. It analyses nothing.

mod excerpt;
mod human;

pub use human::Human;

use crate::source::SourceFile;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The files that findings point into, by the names under which they are shown.
///
/// A file that nobody handed over is read when a label asks for it.
#[derive(Default)]
pub struct Sources {
    files: RefCell<HashMap<String, Option<Arc<SourceFile>>>>,
}

impl Sources {
    /// Starts with the files that are in memory already.
    pub fn new(files: impl IntoIterator<Item = Arc<SourceFile>>) -> Self {
        let files = files.into_iter().map(|file| (file.name.clone(), Some(file))).collect();
        Self { files: RefCell::new(files) }
    }

    /// Adds a file that is in memory already.
    pub fn add(&self, file: Arc<SourceFile>) {
        self.files.borrow_mut().insert(file.name.clone(), Some(file));
    }

    /// The file of that name, if it can be read.
    pub fn get(&self, name: &str) -> Option<Arc<SourceFile>> {
        let mut files = self.files.borrow_mut();
        if let Some(file) = files.get(name) {
            return file.clone();
        }
        let file = SourceFile::read(Path::new(name), name).ok().map(Arc::new);
        files.insert(name.to_owned(), file.clone());
        file
    }
}
