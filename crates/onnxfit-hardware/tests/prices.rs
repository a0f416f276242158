//! Prices as AWS writes them.

use onnxfit_hardware::{PriceError, PriceKind, PriceList, candidates_at};

/// One product as `get-products` writes it; every number is made up.
fn product(name: &str, region: &str, usd: &str, more: &str) -> String {
    format!(
        r#"{{"product":{{"productFamily":"Compute Instance","attributes":{{"instanceType":"{name}","regionCode":"{region}","operatingSystem":"Linux","tenancy":"Shared","preInstalledSw":"NA","capacitystatus":"Used","locationType":"AWS Region"{more}}},"sku":"SKU{name}"}},"serviceCode":"AmazonEC2","terms":{{"OnDemand":{{"SKU.CODE":{{"priceDimensions":{{"SKU.CODE.RATE":{{"unit":"Hrs","pricePerUnit":{{"USD":"{usd}"}},"appliesTo":[]}}}},"sku":"SKU","effectiveDate":"2026-11-01T00:00:00Z","offerTermCode":"CODE","termAttributes":{{}}}}}},"Reserved":{{"x":{{"priceDimensions":{{}}}}}}}},"publicationDate":"2026-11-20T22:30:15Z"}}"#
    )
}

fn usd(prices: &PriceList, name: &str, region: &str) -> Option<f64> {
    Some(prices.get(name, region, PriceKind::OnDemand)?.usd_per_hour)
}

#[test]
fn the_answer_of_get_products_is_read() {
    let texts = [product("g4dn.xlarge", "eu-west-1", "0.6010000000", ""), product("m5.large", "eu-west-1", "0.1", "")];
    let strings: Vec<String> = texts.iter().map(|text| serde_json::to_string(text).expect("a string")).collect();
    let answer = format!(r#"{{"FormatVersion":"aws_v1","PriceList":[{}],"NextToken":"x"}}"#, strings.join(","));
    let prices = PriceList::from_aws(answer.as_bytes()).expect("it has a price");
    let price = prices.get("g4dn.xlarge", "eu-west-1", PriceKind::OnDemand).expect("it is there");
    assert_eq!((price.usd_per_hour, price.date.as_str()), (0.601, "2026-11-20"));
    assert_eq!(usd(&prices, "m5.large", "eu-west-1"), None);
}

#[test]
fn products_may_stand_one_a_line_or_in_a_list() {
    let lines = [product("g6.xlarge", "us-east-1", "0.9", ""), product("g5.xlarge", "us-east-1", "1.1", "")];
    for text in [lines.join("\n"), format!("[{}]", lines.join(",\n"))] {
        let prices = PriceList::from_aws(text.as_bytes()).expect("two prices");
        assert_eq!(usd(&prices, "g6.xlarge", "us-east-1"), Some(0.9));
        assert_eq!(usd(&prices, "g5.xlarge", "us-east-1"), Some(1.1));
    }
}

#[test]
fn an_offer_file_is_read_and_windows_dedicated_and_reserved_are_left_out() {
    let attributes = |name: &str, system: &str, tenancy: &str, status: &str| {
        format!(
            r#"{{"sku":"s","productFamily":"Compute Instance","attributes":{{"instanceType":"{name}","regionCode":"us-west-2","operatingSystem":"{system}","tenancy":"{tenancy}","preInstalledSw":"NA","capacitystatus":"{status}"}}}}"#
        )
    };
    let rate = |usd: &str| {
        format!(
            r#"{{"T":{{"offerTermCode":"T","sku":"s","effectiveDate":"2026-11-01T00:00:00Z","priceDimensions":{{"R":{{"unit":"Hrs","pricePerUnit":{{"USD":"{usd}"}}}}}},"termAttributes":{{}}}}}}"#
        )
    };
    let text = format!(
        r#"{{"formatVersion":"v1.0","offerCode":"AmazonEC2","publicationDate":"2026-11-19T00:00:00Z","products":{{"A":{},"B":{},"C":{},"D":{}}},"terms":{{"OnDemand":{{"A":{},"B":{},"C":{},"D":{}}},"Reserved":{{"A":{{"x":1}}}}}}}}"#,
        attributes("g5.xlarge", "Linux", "Shared", "Used"),
        attributes("g5.xlarge", "Windows", "Shared", "Used"),
        attributes("g5.xlarge", "Linux", "Dedicated", "Used"),
        attributes("g5.xlarge", "Linux", "Shared", "UnusedCapacityReservation"),
        rate("1.2060000000"),
        rate("1.5"),
        rate("1.3"),
        rate("1.4"),
    );
    let prices = PriceList::from_aws(text.as_bytes()).expect("one price");
    assert_eq!(prices.iter().count(), 1);
    assert_eq!(usd(&prices, "g5.xlarge", "us-west-2"), Some(1.206));
}

#[test]
fn of_spot_prices_the_newest_of_the_cheapest_zone_counts() {
    let row = |zone: &str, price: &str, time: &str, system: &str| {
        format!(
            r#"{{"AvailabilityZone":"{zone}","InstanceType":"g6.xlarge","ProductDescription":"{system}","SpotPrice":"{price}","Timestamp":"{time}"}}"#
        )
    };
    let rows = [
        row("us-east-1a", "0.30", "2026-11-20T01:00:00+00:00", "Linux/UNIX"),
        row("us-east-1a", "0.45", "2026-11-22T01:00:00+00:00", "Linux/UNIX"),
        row("us-east-1b", "0.41", "2026-11-21T01:00:00+00:00", "Linux/UNIX (Amazon VPC)"),
        row("us-east-1b", "0.01", "2026-11-22T01:00:00+00:00", "Windows"),
    ];
    let text = format!(r#"{{"SpotPriceHistory":[{}]}}"#, rows.join(","));
    let prices = PriceList::from_aws(text.as_bytes()).expect("a price");
    let spot = prices.spot("g6.xlarge", "us-east-1").expect("it is there");
    assert_eq!((spot.usd_per_hour, spot.date.as_str()), (0.41, "2026-11-21"));
    assert!(spot.source.contains("us-east-1b"), "{}", spot.source);
}

#[test]
fn fresh_prices_come_before_the_ones_compiled_in() {
    let text = product("g4dn.xlarge", "us-east-1", "0.333", "");
    let prices = PriceList::from_aws(text.as_bytes()).expect("one price").over(PriceList::embedded());
    assert_eq!(usd(&prices, "g4dn.xlarge", "us-east-1"), Some(0.333));
    assert_eq!(usd(&prices, "g5.xlarge", "us-east-1"), Some(1.006));
    let found = candidates_at(&prices, onnxfit_base::Bytes::gib(14), onnxfit_base::Bytes::ZERO, "us-east-1");
    assert_eq!(found[0].instance.name, "g4dn.xlarge");
    assert_eq!(found[0].price.as_ref().map(|price| price.usd_per_hour), Some(0.333));
}

#[test]
fn a_text_without_prices_is_refused_with_its_place() {
    let refused = |text: &str| PriceList::from_aws(text.as_bytes()).expect_err("no price");
    assert!(matches!(refused("instance,price\ng5.xlarge,1"), PriceError::Unreadable { line: 1, .. }));
    assert!(matches!(refused(r#"{"products": [1,2]}"#), PriceError::Unreadable { line: 1, .. }));
    assert!(matches!(refused("{}"), PriceError::NothingUsable { n_skipped: 0 }));
    assert!(matches!(refused(&product("m5.large", "us-east-1", "1", "")), PriceError::NothingUsable { n_skipped: 1 }));
    assert!(matches!(
        refused(&product("g5.xlarge", "us-east-1", "0.0000000000", "")),
        PriceError::NothingUsable { .. }
    ));
    assert!(matches!(refused(""), PriceError::NothingUsable { .. }));
}
