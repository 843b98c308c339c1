//! What a client costs: 10 ms of capture chain, encoder and packets, and 10 ms of ten speakers who are
//! decoded and mixed. A frame that takes 100 microseconds takes one percent of a core; the sums are
//! printed at the end.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use parlor::client::voice::ChainSettings;
use parlor::client::voice::workload::{Listener, Scene, Workload};
use parlor::net::clock;
use std::hint::black_box;

/// Speakers who are heard at once.
const SPEAKERS: u32 = 10;
/// Frames over which shares of a core are taken: 30 s of sound.
const FRAMES: u32 = 3000;

const SCENES: [(&str, Scene, ChainSettings); 4] = [
    ("encoder alone", Scene::Quiet, ChainSettings::NONE),
    ("quiet", Scene::Quiet, DEFAULT),
    ("noise", Scene::Noisy, DEFAULT),
    ("noise and echo", Scene::Echo, DEFAULT),
];
const DEFAULT: ChainSettings =
    ChainSettings { high_pass: true, echo: true, noise: true, gain: true };
const NETWORKS: [(&str, f32); 2] = [("clean", 0.0), ("5 % loss", 0.05)];

fn capture(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("capture");
    for (name, scene, chain) in SCENES {
        let Some(mut workload) = Workload::new(scene, chain) else { continue };
        group.bench_function(BenchmarkId::new("10 ms", name), |bencher| {
            bencher.iter(|| black_box(workload.frame()));
        });
    }
    group.finish();
}

fn listen(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ten speakers");
    for (name, loss) in NETWORKS {
        let Some(mut listener) = Listener::new(SPEAKERS, loss) else { continue };
        group.bench_function(BenchmarkId::new("10 ms", name), |bencher| {
            bencher.iter(|| black_box(listener.frame()));
        });
    }
    group.finish();
}

/// Prints shares of one core.
fn shares(_: &mut Criterion) {
    let share = |mut frame: Box<dyn FnMut()>| {
        let start = clock::now();
        (0..FRAMES).for_each(|_| frame());
        start.elapsed().as_secs_f64() / f64::from(FRAMES) / 0.010 * 100.0
    };
    for (network, loss) in NETWORKS {
        let Some(mut listener) = Listener::new(SPEAKERS, loss) else { continue };
        let listening = share(Box::new(move || {
            black_box(listener.frame());
        }));
        println!("{SPEAKERS} speakers, {network}: {listening:.1} % of one core");
        for (name, scene, chain) in SCENES {
            let Some(mut workload) = Workload::new(scene, chain) else { continue };
            let speaking = share(Box::new(move || {
                black_box(workload.frame());
            }));
            println!(
                "  with a microphone ({name}, {speaking:.1} %): {:.1} %",
                listening + speaking
            );
        }
    }
}

criterion_group!(benches, capture, listen, shares);
criterion_main!(benches);
