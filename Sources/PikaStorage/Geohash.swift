import Glibc

/// A place on the earth, in degrees.
public struct GeoPoint: Equatable, Sendable {
    /// Degrees east.
    public var longitude: Double
    /// Degrees north.
    public var latitude: Double

    /// Names a place.
    @inlinable
    public init(longitude: Double, latitude: Double) {
        self.longitude = longitude
        self.latitude = latitude
    }

    /// Radius of the sphere on which Redis measures, in metres.
    static let earthRadius = 6_372_797.560856

    /// Metres to another place, on a sphere.
    public func distance(to other: GeoPoint) -> Double {
        let v = sin((radians(other.longitude) - radians(longitude)) / 2)
        // On one meridian the sine and its inverse would only add noise.
        guard v != 0 else { return latitudeDistance(to: other) }
        let u = sin((radians(other.latitude) - radians(latitude)) / 2)
        let a = u * u + cos(radians(latitude)) * cos(radians(other.latitude)) * v * v
        return 2 * Self.earthRadius * asin(a.squareRoot())
    }

    /// Metres between the parallels of two places.
    func latitudeDistance(to other: GeoPoint) -> Double {
        Self.earthRadius * abs(radians(other.latitude) - radians(latitude))
    }
}

func radians(_ degrees: Double) -> Double { degrees * (Double.pi / 180) }
func degrees(_ radians: Double) -> Double { radians / (Double.pi / 180) }

/// The 52-bit geohash that GEOADD stores as a score, as Redis computes it.
///
/// ```
/// bit    51  50  49  48  …   1   0
///      | x25|y25|x24|y24| … | x0| y0|     x, y: 2^26 columns and rows of the grid
/// ```
public enum Geohash {
    /// Bits per coordinate.
    public static let step = 26

    /// Longitudes that can be indexed.
    public static let longitudes = -180.0...180.0
    /// Latitudes that can be indexed.
    public static let latitudes = -85.05112878...85.05112878

    /// The hash of a place; nil outside of the area.
    public static func encode(longitude: Double, latitude: Double) -> UInt64? {
        guard longitudes.contains(longitude), latitudes.contains(latitude) else { return nil }
        return interleave(
            x: cell(longitude, longitudes, step: step), y: cell(latitude, latitudes, step: step))
    }

    /// The middle of the cell that a score names; whatever the score is, a place in the area.
    public static func decode(_ score: Double) -> GeoPoint {
        let bits = UInt64(exactly: score.rounded(.towardZero)) ?? .max
        let longitude = middle(squeeze(bits >> 1), longitudes)
        let latitude = middle(squeeze(bits), latitudes)
        return GeoPoint(
            longitude: min(max(longitude, longitudes.lowerBound), longitudes.upperBound),
            latitude: min(max(latitude, latitudes.lowerBound), latitudes.upperBound))
    }

    /// Eleven characters of the standard geohash of a score's place; the last is always `0`.
    public static func withText<R>(_ score: Double, _ body: (Bytes) -> R) -> R {
        let alphabet: StaticString = "0123456789bcdefghjkmnpqrstuvwxyz"
        let place = decode(score)
        let bits = interleave(
            x: cell(place.longitude, longitudes, step: step),
            y: cell(place.latitude, -90...90, step: step))
        return withUnsafeTemporaryAllocation(byteCount: 11, alignment: 1) { text in
            for index in 0..<10 {
                text[index] = alphabet.utf8Start[Int(bits >> (47 - 5 * UInt64(index)) & 31)]
            }
            text[10] = UInt8(ascii: "0")
            return body(Bytes(text))
        }
    }

    /// The column or row of a coordinate when its range is halved `step` times.
    ///
    /// The upper end itself lies in a cell behind the last one, as in Redis.
    static func cell(_ value: Double, _ range: ClosedRange<Double>, step: Int) -> UInt64 {
        let share = (value - range.lowerBound) / (range.upperBound - range.lowerBound)
        return UInt64(share * Double(UInt64(1) << UInt64(step)))
    }

    /// The lower edge of a column or row.
    static func edge(_ cell: Double, _ range: ClosedRange<Double>, step: Int) -> Double {
        let share = cell / Double(UInt64(1) << UInt64(step))
        return range.lowerBound + share * (range.upperBound - range.lowerBound)
    }

    private static func middle(_ cell: UInt64, _ range: ClosedRange<Double>) -> Double {
        let lower = edge(Double(cell), range, step: step)
        let upper = edge(Double(cell) + 1, range, step: step)
        return (lower + upper) / 2
    }

    /// Columns in the odd bits, rows in the even ones.
    static func interleave(x: UInt64, y: UInt64) -> UInt64 { spread(y) | spread(x) << 1 }

    /// Puts a zero bit between the bits of the lower half.
    private static func spread(_ value: UInt64) -> UInt64 {
        var bits = value & 0xFFFF_FFFF
        bits = (bits | bits << 16) & 0x0000_FFFF_0000_FFFF
        bits = (bits | bits << 8) & 0x00FF_00FF_00FF_00FF
        bits = (bits | bits << 4) & 0x0F0F_0F0F_0F0F_0F0F
        bits = (bits | bits << 2) & 0x3333_3333_3333_3333
        bits = (bits | bits << 1) & 0x5555_5555_5555_5555
        return bits
    }

    /// Takes the even bits together: the opposite of `spread`.
    private static func squeeze(_ value: UInt64) -> UInt64 {
        var bits = value & 0x5555_5555_5555_5555
        bits = (bits | bits >> 1) & 0x3333_3333_3333_3333
        bits = (bits | bits >> 2) & 0x0F0F_0F0F_0F0F_0F0F
        bits = (bits | bits >> 4) & 0x00FF_00FF_00FF_00FF
        bits = (bits | bits >> 8) & 0x0000_FFFF_0000_FFFF
        bits = (bits | bits >> 16) & 0x0000_0000_FFFF_FFFF
        return bits
    }
}
