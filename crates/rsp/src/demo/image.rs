//! The picture as a file, and the picture computed without a pool.

use crate::exit::{Code, Failure};
use rserpool_compute::fractal::{Picture, Rect, Scene};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::NamedTempFile;

/// The picture as PNG.
pub fn png(picture: &Picture) -> Result<Vec<u8>, Failure> {
    let cannot =
        |cause: png::EncodingError| Failure::new(Code::Failed, format!("cannot encode the picture: {cause}"));
    let mut octets = Vec::new();
    let mut encoder = png::Encoder::new(&mut octets, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(cannot)?;
    writer.write_image_data(picture.colours()).map_err(cannot)?;
    writer.finish().map_err(cannot)?;
    Ok(octets)
}

/// A file that appears complete or not at all.
pub struct Target {
    file: NamedTempFile,
    path: PathBuf,
}

impl Target {
    /// Makes sure, before anything is computed, that a file can be made there.
    pub fn prepare(path: &Path) -> Result<Self, Failure> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if path.is_dir() {
            return Err(Failure::new(
                Code::CannotWrite,
                format!("--out {} is a folder; name a file", path.display()),
            ));
        }
        let file = NamedTempFile::new_in(folder).map_err(|cause| cannot_write(path, &cause))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes it.
    pub fn write(mut self, octets: &[u8]) -> Result<(), Failure> {
        let path = self.path;
        let written = self.file.write_all(octets).and_then(|()| self.file.as_file().sync_all());
        written.map_err(|cause| cannot_write(&path, &cause))?;
        // Temporary files are private; this one is meant for whoever may read the folder.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        let _ = self.file.as_file().set_permissions(readable);
        self.file.persist(&path).map_err(|error| cannot_write(&path, &error.error))?;
        Ok(())
    }
}

fn cannot_write(path: &Path, cause: &std::io::Error) -> Failure {
    let advice = match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "free some space there, or choose another place with --out"
        }
        std::io::ErrorKind::NotFound => "make its folder first, or choose another place with --out",
        _ => "choose another place with --out",
    };
    Failure::new(Code::CannotWrite, format!("cannot write {}: {cause}; {advice}", path.display()))
}

/// The picture, computed by this process alone, on all processors.
pub fn without_a_pool(scene: &Scene, tiles: &[Rect]) -> Picture {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let picture = Mutex::new(Picture::of(scene));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(tile) = tiles.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let colours = scene.render(tile);
                    let mut picture = picture.lock().unwrap_or_else(PoisonError::into_inner);
                    picture
                        .place(tile, &colours)
                        .expect("the tile is cut from this scene and rendered whole");
                }
            });
        }
    });
    picture.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_by_threads_make_the_picture_of_one_piece() {
        let scene = Scene { width: 40, height: 30, iterations: 50, ..Scene::default() };
        let tiles: Vec<Rect> = scene.tiles(16, 16).collect();
        let whole = Rect { left: 0, top: 0, width: 40, height: 30 };
        let mut picture = Picture::of(&scene);
        picture.place(&whole, &scene.render(&whole)).expect("whole");
        assert_eq!(without_a_pool(&scene, &tiles), picture);
    }

    #[test]
    fn a_file_appears_complete_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.png");
        drop(Target::prepare(&path).expect("writable"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);
        Target::prepare(&path).expect("writable").write(b"abc").expect("room");
        assert_eq!(std::fs::read(&path).expect("there"), b"abc");
        let missing = Target::prepare(&folder.path().join("no/a.png")).err().expect("refused");
        assert!(
            missing.code == Code::CannotWrite && missing.to_string().contains("make its folder first"),
            "{missing}"
        );
    }
}
