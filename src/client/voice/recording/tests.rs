//! Recordings as they lie on the disk.

use super::*;
use hound::WavReader;
use std::path::Path;

fn wav(path: &Path) -> Vec<i16> {
    let mut reader = WavReader::open(path).unwrap();
    assert_eq!((reader.spec().sample_rate, reader.spec().channels), (48_000, 1));
    reader.samples::<i16>().map(Result::unwrap).collect()
}

fn files(directory: &Path) -> Files {
    let name_of = |who| match who {
        Who::Own => Some("me".to_owned()),
        Who::Member(MemberId(id)) => Some(format!("../a/{id}")),
    };
    Files::new(directory.to_owned(), "t".to_owned(), Box::new(name_of))
}

fn chunk(who: Who, at: u64, value: f32) -> Chunk {
    Chunk { who, at, samples: [value; BLOCK] }
}

#[test]
fn each_speaker_has_a_file_and_all_are_on_one_time_line() {
    let home = tempfile::tempdir().unwrap();
    let mut files = files(home.path());
    files.open().unwrap();
    files.put(&chunk(Who::Member(MemberId(7)), 4800, 0.25)).unwrap();
    files.put(&chunk(Who::Own, 4800, 0.5)).unwrap();
    files.put(&chunk(Who::Own, 96_000, 0.5)).unwrap();
    files.flush(144_000, true).unwrap();
    let read = |name: &str| wav(&home.path().join(name));
    let (mix, me, other) = (read("t_mix.wav"), read("t_me.wav"), read("t_---a-7.wav"));
    assert_eq!((mix.len(), me.len(), other.len()), (144_000, 144_000, 144_000));
    let heard = |samples: &[i16]| -> Vec<usize> {
        (0..samples.len()).filter(|k| samples[*k] != 0).collect()
    };
    assert_eq!(heard(&other), (4800..4920).collect::<Vec<_>>());
    assert_eq!(heard(&me), (4800..4920).chain(96_000..96_120).collect::<Vec<_>>());
    assert_eq!(heard(&mix), heard(&me));
    assert_eq!((other[4800], me[4800], mix[4800], mix[96_000]), (8192, 16_384, 24_576, 16_384));
}

#[test]
fn a_recording_that_was_killed_is_whole_up_to_the_last_flush() {
    let home = tempfile::tempdir().unwrap();
    let mut files = files(home.path());
    files.open().unwrap();
    for k in 0..400 {
        files.put(&chunk(Who::Own, k * BLOCK as u64, 0.5)).unwrap();
    }
    files.flush(48_000, false).unwrap();
    files.put(&chunk(Who::Own, 48_000, 0.5)).unwrap();
    std::mem::forget(files);
    assert_eq!(wav(&home.path().join("t_me.wav")).len(), 48_000);
    // The mix waits for those who come late.
    assert_eq!(wav(&home.path().join("t_mix.wav")).len(), 24_000);
}

#[test]
fn a_second_recording_does_not_write_over_the_first() {
    let home = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut files = files(home.path());
        files.open().unwrap();
        files.flush(480, true).unwrap();
    }
    let there = |name: &str| home.path().join(name).exists();
    assert!(there("t_mix.wav") && there("t_mix_2.wav"));
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_ends_the_recording_with_the_reason() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (events, mut told) = mpsc::channel(4);
    let recorder = Recorder::default();
    let directory = file.path().join("under");
    recorder.start(directory, "me".to_owned(), "t".to_owned(), events);
    let Some(VoiceEvent::RecordingEnded(end)) = told.recv().await else { panic!() };
    assert!(end.error.is_some() && end.files.is_empty(), "{end:?}");
}

#[tokio::test]
async fn what_goes_through_the_tapes_lies_in_the_files_and_the_end_is_told() {
    let home = tempfile::tempdir().unwrap();
    let (events, mut told) = mpsc::channel(4);
    let recorder = Recorder::default();
    recorder.learn(MemberId(3), "Zoë");
    recorder.start(home.path().to_owned(), "me".to_owned(), "t".to_owned(), events);
    let mut played = recorder.played.take().unwrap().unwrap();
    let mut spoken = recorder.spoken.take().unwrap().unwrap();
    for k in 0..400 {
        if (100..200).contains(&k) {
            played.push(MemberId(3), &[0.25; BLOCK]);
        }
        played.advance();
        if k % 4 == 3 {
            spoken.push_own(&[0.125; 160]);
        }
    }
    recorder.stop();
    assert!(matches!(recorder.played.take(), Some(None)));
    drop((played, spoken));
    let Some(VoiceEvent::RecordingEnded(end)) = told.recv().await else { panic!() };
    assert_eq!((end.error, end.lost_ms, end.length_ms), (None, 0, 1000));
    assert_eq!(end.files, ["t_mix.wav", "t_Zoë.wav", "t_me.wav"]);
    let zoe = wav(&home.path().join("t_Zoë.wav"));
    assert_eq!((zoe.len(), zoe.iter().filter(|s| **s != 0).count()), (48_000, 12_000));
    let me = wav(&home.path().join("t_me.wav"));
    assert_eq!(me.iter().filter(|s| **s != 0).count(), 48_000);
}
