//! The files of a recording: one for each speaker and the mix, all on one time line. Knows no thread.
//!
//! Silence is not written but skipped, which file systems keep for nothing. Headers are brought up to
//! date with every flush, so that a crash costs a second.

use super::super::encoder::to_i16;
use super::super::playback::{BLOCK, MIX_RATE};
use super::{Chunk, Who};
use crate::net::limits::{RECORDING_FILES_MAX, RECORDING_SAMPLES_MAX};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes before the samples of a WAV file.
const HEADER_BYTES: u64 = 44;
/// Samples that the mix waits for those who come late: half a second.
const MIX_WINDOW: u64 = MIX_RATE as u64 / 2;
/// Letters of a speaker's name in the name of a file.
const NAME_CHARS_MAX: usize = 40;
/// Files of the same name that are told apart by a number.
const SAME_NAME_MAX: u32 = 100;

/// Says what someone is called.
pub type NameOf = Box<dyn Fn(Who) -> Option<String> + Send>;

/// The files of one recording.
pub struct Files {
    directory: PathBuf,
    began: String,
    name_of: NameOf,
    mix: Option<Track>,
    speakers: BTreeMap<String, Track>,
    /// The mix from `mixed` on, while it may still change.
    window: VecDeque<f32>,
    mixed: u64,
}

/// One WAV file: 48 kHz, mono, 16 bit.
struct Track {
    name: String,
    file: BufWriter<File>,
    /// Samples in it, silence included.
    length: u64,
    bytes: Vec<u8>,
}

impl Files {
    /// Files in this directory, which is made with the first of them. `began` stands in their names.
    #[must_use]
    pub fn new(directory: PathBuf, began: String, name_of: NameOf) -> Self {
        Self {
            directory,
            began,
            name_of,
            mix: None,
            speakers: BTreeMap::new(),
            window: VecDeque::new(),
            mixed: 0,
        }
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Their names, the mix first.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.mix.iter().chain(self.speakers.values()).map(|track| track.name.clone()).collect()
    }

    /// Makes directory and mix, if they are not there yet.
    pub fn open(&mut self) -> Result<(), String> {
        if self.mix.is_none() {
            std::fs::create_dir_all(&self.directory).map_err(|error| error.to_string())?;
            self.mix = Some(Track::create(&self.directory, &self.began, "mix")?);
        }
        Ok(())
    }

    /// Takes some sound. What stands before what was written is left out.
    pub fn put(&mut self, chunk: &Chunk) -> Result<(), String> {
        if chunk.at + BLOCK as u64 > RECORDING_SAMPLES_MAX {
            return Err("a file can grow no more; start another recording".to_owned());
        }
        self.add_to_mix(chunk)?;
        let Some(name) = (self.name_of)(chunk.who) else { return Ok(()) };
        if !self.speakers.contains_key(&name) {
            if self.speakers.len() >= RECORDING_FILES_MAX {
                return Ok(());
            }
            let track = Track::create(&self.directory, &self.began, &safe(&name))?;
            self.speakers.insert(name.clone(), track);
        }
        match self.speakers.get_mut(&name) {
            Some(track) => track.write(chunk.at, &chunk.samples),
            None => Ok(()),
        }
    }

    /// Brings everything to the disk, up to this time; at the `end` all files are of one length.
    pub fn flush(&mut self, now: u64, end: bool) -> Result<(), String> {
        self.write_mix(if end { now } else { now.saturating_sub(MIX_WINDOW) })?;
        for track in self.mix.iter_mut().chain(self.speakers.values_mut()) {
            if end {
                track.skip_to(now)?;
            }
            track.flush()?;
        }
        Ok(())
    }

    fn add_to_mix(&mut self, chunk: &Chunk) -> Result<(), String> {
        // Who is far ahead of the window pushes it on.
        let end = chunk.at + BLOCK as u64;
        self.write_mix(end.saturating_sub(2 * MIX_WINDOW))?;
        let late = self.mixed.saturating_sub(chunk.at);
        let from = usize::try_from(chunk.at.saturating_sub(self.mixed)).unwrap_or(0);
        let late = usize::try_from(late).unwrap_or(usize::MAX).min(BLOCK);
        let samples = chunk.samples.get(late..).unwrap_or_default();
        if self.window.len() < from + samples.len() {
            self.window.resize(from + samples.len(), 0.0);
        }
        let place = self.window.iter_mut().skip(from);
        place.zip(samples).for_each(|(sum, sample)| *sum += sample);
        Ok(())
    }

    /// Writes the mix up to this time: it will not change any more.
    fn write_mix(&mut self, until: u64) -> Result<(), String> {
        let Some(track) = &mut self.mix else { return Ok(()) };
        let count = usize::try_from(until.saturating_sub(self.mixed)).unwrap_or(0);
        if count == 0 {
            return Ok(());
        }
        let there = count.min(self.window.len());
        let samples: Vec<f32> = self.window.drain(..there).collect();
        track.write(self.mixed, &samples)?;
        self.mixed = until;
        Ok(())
    }
}

impl Track {
    fn create(directory: &Path, began: &str, name: &str) -> Result<Self, String> {
        let mut why = String::new();
        for number in 1..=SAME_NAME_MAX {
            let again = if number == 1 { String::new() } else { format!("_{number}") };
            let name = format!("{began}_{name}{again}.wav");
            let path = directory.join(&name);
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let file = BufWriter::new(file);
                    let mut track = Self { name, file, length: 0, bytes: Vec::new() };
                    track.flush()?;
                    return Ok(track);
                }
                Err(error) => {
                    why = format!("{}: {error}", path.display());
                    if error.kind() != std::io::ErrorKind::AlreadyExists {
                        break;
                    }
                }
            }
        }
        Err(why)
    }

    fn write(&mut self, at: u64, samples: &[f32]) -> Result<(), String> {
        self.skip_to(at)?;
        let late = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let samples = samples.get(late..).unwrap_or_default();
        self.bytes.clear();
        for sample in samples {
            self.bytes.extend(to_i16(*sample).to_le_bytes());
        }
        self.file.write_all(&self.bytes).map_err(|error| error.to_string())?;
        self.length += samples.len() as u64;
        Ok(())
    }

    /// Everything before this time that was not written is silence.
    fn skip_to(&mut self, at: u64) -> Result<(), String> {
        if at > self.length {
            self.length = at;
            let end = SeekFrom::Start(HEADER_BYTES + 2 * at);
            self.file.seek(end).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Makes the file a whole one as it is now.
    fn flush(&mut self) -> Result<(), String> {
        let header = header(self.length);
        let mut write = || {
            self.file.flush()?;
            let file = self.file.get_mut();
            file.set_len(HEADER_BYTES + 2 * self.length)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.seek(SeekFrom::Start(HEADER_BYTES + 2 * self.length)).map(|_| ())
        };
        write().map_err(|error| error.to_string())
    }
}

/// The header of a WAV file of so many samples, 48 kHz, mono, 16 bit.
fn header(samples: u64) -> Vec<u8> {
    let data = u32::try_from(2 * samples).unwrap_or(u32::MAX - 36);
    let mut header = Vec::with_capacity(HEADER_BYTES as usize);
    header.extend(b"RIFF");
    header.extend((data.saturating_add(36)).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16u32.to_le_bytes());
    // PCM, one channel.
    header.extend(1u16.to_le_bytes());
    header.extend(1u16.to_le_bytes());
    header.extend(MIX_RATE.to_le_bytes());
    header.extend((2 * MIX_RATE).to_le_bytes());
    header.extend(2u16.to_le_bytes());
    header.extend(16u16.to_le_bytes());
    header.extend(b"data");
    header.extend(data.to_le_bytes());
    header
}

/// A name that every file system takes, and that leads into no other directory.
fn safe(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' });
    letters.take(NAME_CHARS_MAX).collect()
}
