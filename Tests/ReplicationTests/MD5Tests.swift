import Testing

@testable import Replication

@Suite("MD5")
struct MD5Tests {
    @Test(
        "The examples of RFC 1321",
        arguments: [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a"
            ),
        ])
    func rfc(text: String, digest: String) {
        #expect(MD5.hex(text.utf8) == digest)
    }

    @Test("A snapshot's id is the digest of its info file (spec: replication-protocol 8.3)")
    func info() {
        #expect(
            MD5.hex("3s\n10.0.0.1\n9221\n7\n1234\n".utf8) == "6372e3bf5ac5e379c8be4ddf524985c3")
    }

    @Test("Lengths around the block boundary", arguments: [55, 56, 57, 63, 64, 65, 119, 120])
    func lengths(count: Int) {
        // The padding must leave room for the length; two texts must not collide there.
        let one = MD5.hex(Array(repeating: UInt8(ascii: "a"), count: count))
        let other = MD5.hex(Array(repeating: UInt8(ascii: "a"), count: count + 1))
        #expect(one.utf8.count == 32)
        #expect(one != other)
    }
}
