"""What tests share: real peers on loopback, generated instances, real images."""
