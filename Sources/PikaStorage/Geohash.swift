/// The 52-bit geohash that GEOADD stores as a score, as Redis computes it.
public enum Geohash {
    /// Bits per coordinate.
    static let step: UInt64 = 26

    /// Longitudes that can be indexed.
    public static let longitudes = -180.0...180.0
    /// Latitudes that can be indexed.
    public static let latitudes = -85.05112878...85.05112878

    /// The hash of a place; nil outside of the area.
    public static func encode(longitude: Double, latitude: Double) -> UInt64? {
        guard longitudes.contains(longitude), latitudes.contains(latitude) else { return nil }
        func cell(_ value: Double, _ range: ClosedRange<Double>) -> UInt64 {
            let share = (value - range.lowerBound) / (range.upperBound - range.lowerBound)
            // Redis converts to 32 bits: the upper end itself stays below 2^26 + 1.
            return UInt64(share * Double(UInt64(1) << step))
        }
        return spread(cell(latitude, latitudes)) | spread(cell(longitude, longitudes)) << 1
    }

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
}
