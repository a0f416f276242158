//! The cheapest types for a need.

use expect_test::{Expect, expect};
use onnxfit_base::Bytes;
use onnxfit_hardware::{Availability, Price, PriceKind, PriceList, candidates, candidates_at, price, spot_price};

fn cheapest(device: Bytes, host: Bytes, region: &str) -> String {
    let line = |found: &onnxfit_hardware::Candidate| {
        let price = found.price.as_ref().map_or("no price".to_owned(), |price| {
            format!("${} {} {} {}", price.usd_per_hour, price.kind.as_str(), price.region, price.date)
        });
        let notes: Vec<&str> = found.notes.iter().map(|note| note.id).collect();
        format!("{} {} {price}; {} [{}]", found.instance.name, found.budget, found.install, notes.join(" "))
    };
    let found = candidates(device, host, region);
    let lines: Vec<String> = found.iter().take(4).map(line).collect();
    format!("{}\n... of {}", lines.join("\n"), found.len())
}

fn check(device: Bytes, host: Bytes, region: &str, expected: Expect) {
    expected.assert_eq(&cheapest(device, host, region));
}

#[test]
fn the_cheapest_comes_first() {
    for (device_gib, name) in [
        (2, "g6f.large"),
        (5, "g6f.2xlarge"),
        (14, "g4dn.xlarge"),
        (20, "g6.xlarge"),
        (30, "g6e.xlarge"),
        (44, "g6e.xlarge"),
        (94, "g7e.2xlarge"),
    ] {
        let found = candidates(Bytes::gib(device_gib), Bytes::ZERO, "us-east-1");
        assert_eq!(found[0].instance.name, name, "{device_gib} GiB");
        let prices: Vec<f64> =
            found.iter().filter_map(|found| found.price.as_ref()).map(|price| price.usd_per_hour).collect();
        assert!(prices.is_sorted());
    }
    check(
        Bytes::gib(14),
        Bytes::gib(8),
        "us-east-1",
        expect![[r#"
        g4dn.xlarge 14.56 GiB $0.526 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" [missing-kernels]
        g4dn.2xlarge 14.56 GiB $0.752 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" [missing-kernels]
        g6.xlarge 22.03 GiB $0.8048 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" []
        g6.2xlarge 22.03 GiB $0.9776 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" []
        ... of 57"#]],
    );
}

#[test]
fn the_host_memory_counts_too() {
    check(
        Bytes::gib(20),
        Bytes::gib(15),
        "us-east-1",
        expect![[r#"
        g6.xlarge 22.03 GiB $0.8048 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" [host-memory-tight]
        g6.2xlarge 22.03 GiB $0.9776 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" []
        g5.xlarge 22.06 GiB $1.006 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" [host-memory-tight]
        g5.2xlarge 22.06 GiB $1.212 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" []
        ... of 47"#]],
    );
    check(
        Bytes::gib(20),
        Bytes::gib(24),
        "us-east-1",
        expect![[r#"
        g6.2xlarge 22.03 GiB $0.9776 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" []
        g5.2xlarge 22.06 GiB $1.212 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" []
        g6.4xlarge 22.03 GiB $1.3232 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" []
        gr6.4xlarge 22.03 GiB $1.5392 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" []
        ... of 45"#]],
    );
}

#[test]
fn a_need_beyond_every_gpu_has_no_candidate() {
    assert!(candidates(Bytes::gib(400), Bytes::ZERO, "us-east-1").is_empty());
    assert!(candidates(Bytes::gib(1), Bytes::gib(100_000), "us-east-1").is_empty());
    // Eight T4 hold it together, but no session sees more than one.
    assert!(candidates(Bytes::gib(16), Bytes::ZERO, "us-east-1").iter().all(|found| found.gpu.key != "T4"));
}

#[test]
fn what_cannot_run_or_start_is_left_out() {
    let found = candidates(Bytes::gib(1), Bytes::ZERO, "us-east-1");
    for family in ["inf1", "g4ad", "g5g", "g2", "p2", "p6e-gb200"] {
        assert!(found.iter().all(|found| found.instance.family() != family), "{family}");
    }
    let p3 = found.iter().find(|found| found.instance.name == "p3.2xlarge").expect("p3 runs 1.26.0");
    assert_eq!(p3.install, "pip install \"onnxruntime-gpu[cuda,cudnn]==1.26.0\" \"nvidia-cudnn-cu12<9.11\"");
}

#[test]
fn a_region_without_prices_shows_the_reference_and_says_so() {
    check(
        Bytes::gib(14),
        Bytes::ZERO,
        "eu-west-1",
        expect![[r#"
        g4dn.xlarge 14.56 GiB $0.526 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" [missing-kernels other-region-price]
        g4dn.2xlarge 14.56 GiB $0.752 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" [missing-kernels other-region-price]
        g6.xlarge 22.03 GiB $0.8048 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" [other-region-price]
        g6.2xlarge 22.03 GiB $0.9776 on-demand us-east-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" [other-region-price]
        ... of 57"#]],
    );
}

#[test]
fn a_region_with_prices_leaves_out_what_it_does_not_have() {
    check(
        Bytes::gib(14),
        Bytes::ZERO,
        "us-gov-west-1",
        expect![[r#"
        g4dn.xlarge 14.56 GiB $0.663 on-demand us-gov-west-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" [missing-kernels]
        g4dn.2xlarge 14.56 GiB $0.948 on-demand us-gov-west-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" [missing-kernels]
        g6.xlarge 22.03 GiB $1.0144 on-demand us-gov-west-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" []
        g6.2xlarge 22.03 GiB $1.2322 on-demand us-gov-west-1 2026-07-20; pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1" []
        ... of 27"#]],
    );
    let found = candidates(Bytes::gib(1), Bytes::ZERO, "us-gov-west-1");
    let is_priced = |found: &onnxfit_hardware::Candidate| found.price.is_some();
    assert!(found.iter().all(|found| is_priced(found) || found.instance.availability == Availability::Reserved));
}

#[test]
fn fresher_prices_take_the_place_of_the_old() {
    let fresh = |instance: &str, usd_per_hour| Price {
        instance: instance.to_owned(),
        region: "eu-west-1".to_owned(),
        kind: PriceKind::OnDemand,
        usd_per_hour,
        date: "2027-01-01".to_owned(),
        source: "a test".to_owned(),
    };
    let prices: PriceList = [fresh("g4dn.xlarge", 9.0), fresh("g5.xlarge", 1.0)].into_iter().collect();
    let found = candidates_at(&prices, Bytes::gib(10), Bytes::ZERO, "eu-west-1");
    let names: Vec<&str> =
        found.iter().filter(|found| found.price.is_some()).map(|found| found.instance.name.as_str()).collect();
    assert_eq!(names, ["g5.xlarge", "g4dn.xlarge"]);
}

#[test]
fn prices_carry_their_day() {
    let t4 = price("g4dn.xlarge", "us-east-1").expect("a price");
    assert_eq!((t4.usd_per_hour, t4.date.as_str(), t4.kind), (0.526, "2026-07-20", PriceKind::OnDemand));
    let spot = spot_price("g4dn.xlarge", "us-east-1").expect("a spot estimate");
    assert_eq!((spot.usd_per_hour, spot.date.as_str()), (0.1894, "2025-06-28"));
    assert_eq!(price("g4dn.xlarge", "mars-north-1"), None);
}
