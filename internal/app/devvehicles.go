package app

import (
	"postroad/internal/vehicles"
)

// devVehicles starts the vehicles of the demonstration, where any are wanted. They
// post through the door.
func (p process) devVehicles(st *stack, count int, door string) error {
	if count == 0 {
		return nil
	}
	opts := vehicles.DefaultOptions()
	opts.Count = count
	s, err := vehicles.New(opts, vehicles.Deps{URL: door, Log: p.log, Registerer: p.registry})
	if err != nil {
		return err
	}
	st.push(layer{name: "vehicles", run: s.Run})
	return nil
}
