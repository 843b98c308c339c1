//! WAV files as microphone and as loudspeaker.

use super::VoiceError;
use super::encoder::to_i16;
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

/// Reads one channel out of a WAV file of any rate, channels and format.
pub struct WavInput {
    reader: WavReader<BufReader<File>>,
    spec: WavSpec,
    repeat: bool,
    ended: bool,
    silent_from: u64,
}

impl std::fmt::Debug for WavInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavInput").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl WavInput {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, is no WAV file, is empty, or has a rate or channels out of all reason.
    pub fn open(path: &Path, repeat: bool) -> Result<Self, VoiceError> {
        let error = |why: String| VoiceError::File { path: path.to_owned(), why };
        let reader = WavReader::open(path).map_err(|why| error(describe(&why)))?;
        let spec = reader.spec();
        if spec.channels == 0 || !(1_000..=384_000).contains(&spec.sample_rate) {
            return Err(error(format!("{} channels at {} Hz", spec.channels, spec.sample_rate)));
        }
        if reader.duration() == 0 {
            return Err(error("the file holds no sound".to_owned()));
        }
        Ok(Self { reader, spec, repeat, ended: false, silent_from: 0 })
    }

    /// Sampling rate in Hz.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.spec.sample_rate
    }

    /// Appends `count` samples, the mean of the channels; silence after the end.
    pub fn read(&mut self, count: usize, out: &mut Vec<f32>) {
        let wanted = out.len() + count;
        while out.len() < wanted && !self.ended {
            if self.fill(wanted, out) {
                continue;
            }
            // The end, or a broken file, which counts as one.
            let empty = out.len() as u64 == self.silent_from;
            self.ended = !self.repeat || empty || self.reader.seek(0).is_err();
            self.silent_from = out.len() as u64;
        }
        self.silent_from = 0;
        out.resize(wanted, 0.0);
    }

    /// Reads on; false at the end of the file.
    fn fill(&mut self, wanted: usize, out: &mut Vec<f32>) -> bool {
        let channels = usize::from(self.spec.channels);
        let scale = match self.spec.sample_format {
            SampleFormat::Float => 1.0,
            SampleFormat::Int => 1.0 / (1u64 << (self.spec.bits_per_sample.max(1) - 1)) as f32,
        };
        while out.len() < wanted {
            let mut sum = 0.0;
            for _ in 0..channels {
                let sample = match self.spec.sample_format {
                    SampleFormat::Float => self.reader.samples::<f32>().next(),
                    SampleFormat::Int => {
                        self.reader.samples::<i32>().next().map(|s| s.map(|s| s as f32))
                    }
                };
                let Some(Ok(sample)) = sample else { return false };
                sum += sample * scale;
            }
            out.push(if channels == 1 { sum } else { sum / channels as f32 });
        }
        true
    }
}

/// Writes the mix as 48 kHz mono, 16 bit. The file can be read at any time up to the last `flush`.
pub struct WavOutput {
    path: PathBuf,
    writer: WavWriter<BufWriter<File>>,
}

impl std::fmt::Debug for WavOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavOutput").field("path", &self.path).finish_non_exhaustive()
    }
}

impl WavOutput {
    /// Makes the file anew.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path, rate: u32) -> Result<Self, VoiceError> {
        let spec = WavSpec {
            channels: 1,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let error =
            |why: hound::Error| VoiceError::File { path: path.to_owned(), why: describe(&why) };
        let mut writer = WavWriter::create(path, spec).map_err(error)?;
        writer.flush().map_err(error)?;
        Ok(Self { path: path.to_owned(), writer })
    }

    /// Appends samples.
    ///
    /// # Errors
    /// The disk does not take them.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), String> {
        for sample in samples {
            self.writer.write_sample(to_i16(*sample)).map_err(|why| describe(&why))?;
        }
        Ok(())
    }

    /// Brings header and samples to the disk.
    ///
    /// # Errors
    /// The disk does not take them.
    pub fn flush(&mut self) -> Result<(), String> {
        self.writer.flush().map_err(|why| describe(&why))
    }
}

fn describe(error: &hound::Error) -> String {
    match error {
        hound::Error::IoError(error) => error.to_string(),
        hound::Error::FormatError(what) => format!("not a WAV file: {what}"),
        hound::Error::Unsupported => "a kind of WAV file that cannot be read here".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, spec: WavSpec, frames: &[Vec<f64>]) {
        let mut writer = WavWriter::create(path, spec).unwrap();
        for frame in frames {
            for sample in frame {
                match spec.sample_format {
                    SampleFormat::Float => writer.write_sample(*sample as f32).unwrap(),
                    SampleFormat::Int => {
                        let full = (1i64 << (spec.bits_per_sample - 1)) as f64;
                        writer.write_sample((sample * full) as i32).unwrap();
                    }
                }
            }
        }
        writer.finalize().unwrap();
    }

    #[test]
    fn every_format_is_read_and_channels_are_averaged() {
        let folder = tempfile::tempdir().unwrap();
        for (bits, sample_format) in [
            (8, SampleFormat::Int),
            (16, SampleFormat::Int),
            (24, SampleFormat::Int),
            (32, SampleFormat::Int),
            (32, SampleFormat::Float),
        ] {
            let path = folder.path().join(format!("{bits}{sample_format:?}.wav"));
            let spec =
                WavSpec { channels: 2, sample_rate: 8000, bits_per_sample: bits, sample_format };
            write(&path, spec, &[vec![0.5, 0.25], vec![-0.5, 0.5]]);
            let mut input = WavInput::open(&path, false).unwrap();
            let mut out = Vec::new();
            input.read(4, &mut out);
            assert_eq!(out, [0.375, 0.0, 0.0, 0.0], "{bits} {sample_format:?}");
            let mut input = WavInput::open(&path, true).unwrap();
            out.clear();
            input.read(5, &mut out);
            assert_eq!(out, [0.375, 0.0, 0.375, 0.0, 0.375]);
        }
    }

    #[test]
    fn what_is_no_sound_file_is_an_error_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.wav");
        assert!(WavInput::open(&path, false).is_err());
        std::fs::write(&path, b"RIFF and nothing").unwrap();
        let error = WavInput::open(&path, false).unwrap_err().to_string();
        assert!(error.contains("x.wav"), "{error}");
    }

    #[test]
    fn an_output_file_is_whole_up_to_the_last_flush() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.wav");
        let mut output = WavOutput::create(&path, 48_000).unwrap();
        output.write(&[0.5; 480]).unwrap();
        output.flush().unwrap();
        output.write(&[0.5; 48_000]).unwrap();
        // Killed: nothing is finalised.
        std::mem::forget(output);
        let reader = WavReader::open(&path).unwrap();
        assert_eq!((reader.duration(), reader.spec().sample_rate), (480, 48_000));
    }
}
