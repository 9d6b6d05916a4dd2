package cost

// Writes are the dollars of so many write request units of DynamoDB.
func Writes(units float64) float64 { return units * writeUnit }
