use super::*;

#[test]
fn a_service_on_several_addresses_has_one_port_and_tells_where_it_was_reached() {
    let ips = ["127.0.0.1:0", "127.0.0.2:0"];
    // Only Linux has the second one.
    let ips = &ips[..if cfg!(target_os = "linux") { 2 } else { 1 }];
    let addresses: Vec<SocketAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    let deadline = Deadline::new(Duration::from_secs(20), "a datagram");
    let far = Far::at(addresses, &deadline).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (index, address) in far.addresses.iter().enumerate() {
        assert_eq!(address.port(), far.address().port());
        client.send_to(b"x", address).unwrap();
        let (at, came, from) = far.receive(&deadline).unwrap();
        assert_eq!((at, &came[..]), (index, &b"x"[..]));
        assert_eq!(from, client.local_addr().unwrap());
    }
    let deadline = Deadline::new(Duration::from_millis(5), "a datagram");
    assert!(far.receive(&deadline).is_err());
}

#[test]
fn a_difference_is_told_with_its_lengths() {
    assert!(same("x", b"ab", b"ab").is_ok());
    let Err(CheckError::Failed(message, failure)) = same("another payload", b"ab", &[1; 300])
    else {
        panic!("they differ");
    };
    assert_eq!(message, "another payload: 300 bytes, 2 were due");
    assert_eq!(failure.received().map(<[u8]>::len), Some(MOST_SHOWN));
}
