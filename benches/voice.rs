//! What a microphone costs: 10 ms of capture chain, encoder and packets. A frame that takes 100
//! microseconds takes one percent of a core.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use parlor::client::voice::ChainSettings;
use parlor::client::voice::workload::{Scene, Workload};
use std::hint::black_box;

fn capture(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("capture");
    let scenes = [
        ("encoder alone", Scene::Quiet, ChainSettings::NONE),
        ("quiet", Scene::Quiet, ChainSettings::default()),
        ("noise", Scene::Noisy, ChainSettings::default()),
        ("noise and echo", Scene::Echo, ChainSettings::default()),
    ];
    for (name, scene, chain) in scenes {
        let Some(mut workload) = Workload::new(scene, chain) else { continue };
        group.bench_function(BenchmarkId::new("10 ms", name), |bencher| {
            bencher.iter(|| black_box(workload.frame()));
        });
    }
    group.finish();
}

criterion_group!(benches, capture);
criterion_main!(benches);
