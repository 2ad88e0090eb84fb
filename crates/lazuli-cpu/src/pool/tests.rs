//! The pool under panics, oversubscription and idleness.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::{Chunks, Pool};

/// Every worker adds to a counter before each barrier and must find everyone's additions after it.
fn meets_at_barriers(threads: usize, rounds: usize) {
    let mut pool = Pool::new(threads).unwrap();
    let counter = AtomicUsize::new(0);
    pool.run(|worker| {
        assert_eq!(worker.count, threads);
        for round in 1..=rounds {
            counter.fetch_add(1, SeqCst);
            worker.barrier();
            assert_eq!(counter.load(SeqCst), round * threads);
            worker.barrier();
        }
    });
    assert_eq!(counter.load(SeqCst), rounds * threads);
}

#[test]
fn barriers_order_the_work() {
    for threads in [1, 2, 3] {
        meets_at_barriers(threads, 300);
    }
}

#[test]
fn the_last_at_a_barrier_works_alone_before_anybody_goes_on() {
    for threads in [1, 2, 3] {
        let mut pool = Pool::new(threads).unwrap();
        let (done, arrived) = (AtomicUsize::new(0), AtomicUsize::new(0));
        pool.run(|worker| {
            for round in 1..=300 {
                arrived.fetch_add(1, SeqCst);
                worker.barrier_and(|alone| {
                    assert_eq!((alone.index, alone.count), (0, 1));
                    assert_eq!(arrived.load(SeqCst), round * threads);
                    let mut chunks = 0;
                    alone.for_each_chunk(5, |_| chunks += 1);
                    assert_eq!(chunks, 5);
                    done.fetch_add(1, SeqCst);
                });
                assert_eq!(done.load(SeqCst), round);
                worker.barrier();
                // What is done alone takes nothing from what is shared.
                worker.for_each_chunk(1, |_| ());
            }
        });
    }
}

#[test]
fn a_panic_of_the_last_at_a_barrier_frees_the_others() {
    let mut pool = Pool::new(3).unwrap();
    let run = catch_unwind(AssertUnwindSafe(|| pool.run(|worker| worker.barrier_and(|_| panic!("alone")))));
    assert_eq!(run.unwrap_err().downcast_ref::<&str>(), Some(&"alone"));
    meets_at_barriers(3, 10);
}

#[test]
fn each_chunk_is_done_once_whether_first_ones_have_owners_or_not() {
    for (threads, total, own) in
        [(1, 7, true), (2, 1, true), (2, 9, true), (3, 2, true), (3, 40, true), (3, 40, false)]
    {
        let mut pool = Pool::new(threads).unwrap();
        let done: Vec<AtomicUsize> = (0..total).map(|_| AtomicUsize::new(0)).collect();
        pool.run(|worker| {
            for round in 0..50 {
                let mut expected = own.then_some(worker.index).filter(|first| *first < total && threads > 1);
                worker.for_each_chunk_ahead(total, own, |chunk, next| {
                    assert_eq!(expected.unwrap_or(chunk), chunk);
                    done[chunk].fetch_add(1, SeqCst);
                    expected = if round % 2 == 0 { next() } else { None };
                    assert!(round % 2 == 1 || next() == expected, "asking twice is asking once");
                });
                assert_eq!(expected, None);
            }
        });
        assert!(done.iter().all(|done| done.load(SeqCst) == 50), "{threads} workers, {total} chunks");
    }
}

#[test]
fn more_workers_than_cores_finish_soon() {
    let began = Instant::now();
    meets_at_barriers(8, 60);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn runs_of_fewer_workers_stand_between_others() {
    for threads in [2, 3, 4] {
        let mut pool = Pool::new(threads).unwrap();
        for round in 0..2000 {
            let count = if round % 3 == 0 { threads } else { threads - 1 };
            let seen: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            pool.run_on(count, |worker| {
                assert_eq!(worker.count, count);
                seen[worker.index].fetch_add(1, SeqCst);
                worker.barrier();
                assert!((0..count).all(|index| seen[index].load(SeqCst) == 1));
            });
            assert_eq!(seen.iter().map(|seen| seen.load(SeqCst)).sum::<usize>(), count);
        }
    }
}

#[test]
fn every_worker_runs_once_per_run_and_waits_may_be_long() {
    let mut pool = Pool::new(4).unwrap();
    let seen: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
    for round in 0..50 {
        pool.run(|worker| {
            if round % 10 == 0 && worker.index == round / 10 % 4 {
                // Long enough for the others to fall asleep at the barrier.
                std::thread::sleep(Duration::from_millis(5));
            }
            worker.barrier();
            seen[worker.index].fetch_add(1, SeqCst);
        });
        if round % 10 == 5 {
            // Long enough for the workers to fall asleep between runs.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert!(seen.iter().all(|count| count.load(SeqCst) == 50), "{seen:?}");
}

#[test]
fn chunks_are_taken_once_each_without_barriers_between_shares() {
    for threads in [1, 2, 5] {
        let mut pool = Pool::new(threads).unwrap();
        let totals = [0, 1, 7, 100, 3, 0, 64];
        let hits: Vec<Vec<AtomicUsize>> =
            totals.iter().map(|&total| (0..total).map(|_| AtomicUsize::new(0)).collect()).collect();
        for round in 1..=20 {
            pool.run(|worker| {
                for share in &hits {
                    worker.for_each_chunk(share.len(), |chunk| {
                        share[chunk].fetch_add(1, SeqCst);
                    });
                }
            });
            assert!(hits.iter().flatten().all(|hit| hit.load(SeqCst) == round));
        }
    }
}

#[test]
fn a_late_worker_finds_an_old_share_finished() {
    let chunks = Chunks::new();
    assert_eq!(chunks.take(1, 2), Some(0));
    assert_eq!(chunks.take(1, 2), Some(1));
    assert_eq!(chunks.take(1, 2), None);
    assert_eq!(chunks.take(3, 2), Some(0));
    assert_eq!(chunks.take(2, 5), None);
    assert_eq!(chunks.take(3, 2), Some(1));
    assert_eq!(chunks.take(3, 2), None);
    chunks.reset();
    assert_eq!(chunks.take(1, 1), Some(0));
}

#[test]
fn parts_cover_the_whole() {
    let mut pool = Pool::new(3).unwrap();
    for total in [0, 1, 2, 3, 10, 11] {
        let hits: Vec<AtomicUsize> = (0..total).map(|_| AtomicUsize::new(0)).collect();
        pool.run(|worker| {
            for i in worker.part(total) {
                hits[i].fetch_add(1, SeqCst);
            }
        });
        assert!(hits.iter().all(|hit| hit.load(SeqCst) == 1));
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let mut pool = Pool::new(3).unwrap();
    for culprit in [0, 1, 2] {
        for at_round in [0, 3] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(|worker| {
                    for round in 0..5 {
                        if worker.index == culprit && round == at_round {
                            std::panic::panic_any(format!("worker {culprit} gave up"));
                        }
                        worker.barrier();
                    }
                });
            }));
            let payload = caught.expect_err("the panic must arrive");
            assert_eq!(payload.downcast_ref::<String>().unwrap(), &format!("worker {culprit} gave up"));
            let sum = AtomicUsize::new(0);
            pool.run(|worker| {
                worker.barrier();
                sum.fetch_add(worker.index + 1, SeqCst);
            });
            assert_eq!(sum.load(SeqCst), 6);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn idle_workers_use_no_cpu() {
    /// CPU time of the threads named after this pool's workers, in clock ticks.
    fn ticks(tids: &[String]) -> u64 {
        let field = |tid: &String| {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap();
            let after = stat.rsplit(')').next().unwrap();
            let fields: Vec<&str> = after.split_whitespace().collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        tids.iter().map(field).sum()
    }
    let mut pool = Pool::new(3).unwrap();
    let tids = std::sync::Mutex::new(Vec::new());
    pool.run(|worker| {
        if worker.index > 0 {
            let link = std::fs::read_link("/proc/thread-self").unwrap();
            tids.lock().unwrap().push(link.file_name().unwrap().to_string_lossy().into_owned());
        }
    });
    let tids = tids.into_inner().unwrap();
    assert_eq!(tids.len(), 2);
    std::thread::sleep(Duration::from_millis(20));
    let before = ticks(&tids);
    std::thread::sleep(Duration::from_millis(500));
    // Two spinning threads would use 100 ticks of 10 ms on two cores.
    assert!(ticks(&tids) - before <= 1, "idle workers ran for {} ticks", ticks(&tids) - before);
}
