package appledev

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Family is the kind of device.
type Family uint8

// Families.
const (
	IPhone Family = iota + 1
	IPad
	Mac
)

// String names the family as DeviceInformation's ModelName does.
func (f Family) String() string {
	switch f {
	case IPhone:
		return "iPhone"
	case IPad:
		return "iPad"
	case Mac:
		return "Mac"
	}
	return "unknown"
}

// Model is a product of Apple's.
type Model struct {
	Family    Family
	Name      string // ModelName: "iPad Pro"
	Product   string // ProductName: "iPad14,5"
	Number    string // Model: "MNXP3"
	OSVersion string
	Build     string
	CapacityG float64 // DeviceCapacity, GiB
}

// models returns some products with an OS they run. Newest first per family.
func models() map[Family][]Model {
	return map[Family][]Model{
		IPhone: {
			{IPhone, "iPhone 16 Pro", "iPhone17,1", "MYMD3", "18.6.2", "22G100", 256},
			{IPhone, "iPhone 15", "iPhone15,4", "MTP03", "18.5", "22F76", 128},
			{IPhone, "iPhone 13", "iPhone14,5", "MLPF3", "17.7.2", "21H221", 128},
		},
		IPad: {
			{IPad, "iPad Air 11-inch (M2)", "iPad14,8", "MUWC3", "18.6.2", "22G100", 128},
			{IPad, "iPad (10th generation)", "iPad13,18", "MPQ03", "18.5", "22F76", 64},
			{IPad, "iPad (9th generation)", "iPad12,1", "MK2K3", "17.7.2", "21H221", 64},
		},
		Mac: {
			{Mac, "MacBook Air", "Mac14,2", "MLY33", "15.6.1", "24G90", 512},
			{Mac, "MacBook Pro", "Mac15,3", "MTL73", "15.5", "24F74", 1024},
			{Mac, "Mac mini", "Mac16,10", "MU9D3", "14.7.6", "23H626", 256},
		},
	}
}

// Spec is one device before it is enrolled. Specs made from equal seeds are
// equal.
type Spec struct {
	Model  Model
	Serial string // 12 characters
	UDID   string // 8-16 hex digits; on Macs a UUID
	Name   string // the name its owner gave it
	IMEI   string // iPhones
	WiFi   string // MAC address
	Owner  string // the short name of a Mac's user
	// Seed makes tokens and other random looking content.
	Seed uint64
	// AwaitingConfiguration is what a device says that came by automated
	// enrollment; DeviceConfigured ends it.
	AwaitingConfiguration bool
	Supervised            bool
	// UserChannel is a Mac whose user is logged in when it enrolls.
	UserChannel bool
}

// serialAlphabet leaves out the letters that Apple leaves out.
const serialAlphabet = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"

// Mix is the share of each family in a population, as weights. The zero Mix is
// two iPhones and two iPads to one Mac.
type Mix struct {
	IPhone, IPad, Mac int
	// MacNoUser are Macs at the login window: they have no user channel.
	MacNoUser int
	// FreeOneIn: of every so many devices the first is not supervised; 0: all
	// iPhones and iPads are.
	FreeOneIn int
}

// family draws one, and whether somebody is logged in.
func (m Mix) family(r *rand.Rand) (f Family, user bool) {
	if m.IPhone+m.IPad+m.Mac+m.MacNoUser == 0 {
		m = Mix{IPhone: 2, IPad: 2, Mac: 1}
	}
	n := r.IntN(m.IPhone + m.IPad + m.Mac + m.MacNoUser)
	switch {
	case n < m.IPhone:
		return IPhone, false
	case n < m.IPhone+m.IPad:
		return IPad, false
	default:
		return Mac, n < m.IPhone+m.IPad+m.Mac
	}
}

// NewSpecs returns n devices, the same for the same seed. Serial numbers are
// distinct within a seed and, but for collisions among 34^5, between seeds.
func NewSpecs(seed uint64, n int, mix Mix) []Spec {
	specs := make([]Spec, 0, n)
	for i := range n {
		r := rand.New(rand.NewPCG(seed, uint64(i))) // repeatable, not secret
		specs = append(specs, newSpec(r, i, mix))
	}
	return specs
}

// newSpec draws the i-th device.
func newSpec(r *rand.Rand, i int, mix Mix) Spec {
	family, user := mix.family(r)
	choices := models()[family]
	names := owners()
	owner := names[r.IntN(len(names))]
	s := Spec{
		Model:      choices[r.IntN(len(choices))],
		Serial:     serial(r, family, i),
		Owner:      strings.ToLower(owner),
		WiFi:       mac(r),
		Seed:       r.Uint64(),
		Supervised: family != Mac, UserChannel: user,
	}
	s.Name = fmt.Sprintf("%s's %s", owner, family)
	if family == Mac {
		s.UDID = uuidFrom(r)
		return s
	}
	s.UDID = fmt.Sprintf("00008%03d-%016X", r.IntN(1000), r.Uint64())
	if family == IPhone {
		s.IMEI = fmt.Sprintf("35%013d", r.Uint64N(1e13))
	}
	if mix.FreeOneIn > 0 && i%mix.FreeOneIn == 0 {
		s.Supervised = false
	}
	return s
}

// SpecOf returns the device of a serial number, always the same, for a product
// as ProductName names it: "iPad14,8". Of one that is not known here it is the
// family's newest model.
func SpecOf(serial, product string) (Spec, error) {
	families := map[string]Family{"iPhone": IPhone, "iPad": IPad, "Mac": Mac}
	family, ok := families[strings.TrimRight(product, "0123456789,")]
	if !ok {
		return Spec{}, fmt.Errorf("product %q is not modeled", product)
	}
	choices := models()[family]
	model := choices[max(slices.IndexFunc(choices, func(m Model) bool { return m.Product == product }), 0)]
	sum := sha256.Sum256([]byte(serial))
	r := rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum[:]), 0)) // repeatable, not secret
	mix := map[Family]Mix{IPhone: {IPhone: 1}, IPad: {IPad: 1}, Mac: {Mac: 1}}[family]
	s := newSpec(r, 0, mix)
	s.Serial, s.Model = serial, model
	return s, nil
}

// owners give devices their names.
func owners() []string {
	return []string{"Ada", "Bela", "Chen", "Dara", "Elif", "Femi", "Goran", "Hana", "Ines", "Jun", "Kofi", "Lena"}
}

// serial draws 12 characters: a plant, a week, a number that holds i, a model.
func serial(r *rand.Rand, family Family, i int) string {
	plant := map[Family]string{IPhone: "F2L", IPad: "DMP", Mac: "C02"}[family]
	var b strings.Builder
	b.WriteString(plant)
	const numberDigits = 4
	for range 5 {
		b.WriteByte(serialAlphabet[r.IntN(len(serialAlphabet))])
	}
	for range numberDigits {
		b.WriteByte(serialAlphabet[i%len(serialAlphabet)])
		i /= len(serialAlphabet)
	}
	return b.String()
}

// mac draws a MAC address.
func mac(r *rand.Rand) string {
	v := r.Uint64()
	return fmt.Sprintf("f0:18:98:%02x:%02x:%02x", byte(v), byte(v>>8), byte(v>>16))
}

// uuidFrom draws an upper case UUID of version 4.
func uuidFrom(r *rand.Rand) string {
	b := bytesFrom(r, 16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := strings.ToUpper(hex.EncodeToString(b))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// bytesFrom draws n bytes.
func bytesFrom(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
