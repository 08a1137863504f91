import PikaStorage
import Testing

@Suite("Where to look for places")
struct GeoTests {
    private func random(
        _ longitudes: ClosedRange<Double>, _ latitudes: ClosedRange<Double>
    ) -> GeoPoint {
        GeoPoint(longitude: .random(in: longitudes), latitude: .random(in: latitudes))
    }

    private func anywhere() -> GeoPoint {
        switch Int.random(in: 0..<6) {
        case 0: random(-180...(-179.9), -85...85)
        case 1: random(179.9...180, -85...85)
        case 2: random(-180...180, 80...85.05)
        case 3: random(10...11, 40...41)
        case 4: GeoPoint(longitude: 180, latitude: 85.05112878)
        default: random(-180...180, -85.05...85.05)
        }
    }

    @Test("Every place inside lies in one of the ranges, and in one only")
    func cover() throws {
        for _ in 0..<300 {
            let size = pow10(.random(in: 0...7.3))
            let shape = GeoShape(
                center: anywhere(),
                form: Bool.random()
                    ? .circle(radius: size)
                    : .box(width: size * .random(in: 0.01...2), height: size))
            let ranges = shape.scoreRanges
            for _ in 0..<100 {
                let place = anywhere()
                let hash = try #require(
                    Geohash.encode(longitude: place.longitude, latitude: place.latitude))
                let holders = ranges.filter { $0.contains(Double(hash)) }.count
                #expect(holders <= 1, "\(shape) \(place)")
                if shape.distance(to: Geohash.decode(Double(hash))) != nil {
                    #expect(holders == 1, "\(shape) \(place)")
                }
            }
        }
    }

    @Test("A small shape looks at small cells")
    func smallCells() {
        let shape = GeoShape(
            center: GeoPoint(longitude: 13.4, latitude: 52.5), form: .circle(radius: 100))
        let width = shape.scoreRanges.reduce(0) { $0 + $1.maximum.value - $1.minimum.value }
        #expect(width < Double(1 << 26))
    }

    @Test("A hash decodes to the middle of its cell, any score to a place")
    func decoding() {
        for _ in 0..<1000 {
            let place = anywhere()
            let hash = Geohash.encode(longitude: place.longitude, latitude: place.latitude)
            let decoded = Geohash.decode(Double(hash ?? 0))
            #expect(abs(decoded.longitude - place.longitude) <= 3e-6)
            #expect(abs(decoded.latitude - place.latitude) <= 3e-6)
        }
        for score in [-1, -.infinity, .infinity, 1e30, 0.5] {
            let place = Geohash.decode(score)
            #expect(Geohash.longitudes.contains(place.longitude))
            #expect(Geohash.latitudes.contains(place.latitude))
        }
        #expect(Geohash.encode(longitude: 180.1, latitude: 0) == nil)
        #expect(Geohash.encode(longitude: 0, latitude: -85.06) == nil)
    }

    private func pow10(_ exponent: Double) -> Double {
        var value = 1.0
        for _ in 0..<Int(exponent) { value *= 10 }
        return value * (1 + 9 * (exponent - exponent.rounded(.down)))
    }
}
